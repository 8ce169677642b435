"""A data set in one .npz file: x_train, y_train, x_test, y_test and, if wanted, x_val, y_val and `classes`."""

from __future__ import annotations

import lzma
import math
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seam.data.formats.arrays import ARRAYS, OPTIONAL, check_there, checked_images, classes_of, no_such_file, raw_data
from seam.data.pictures import check_plain
from seam.data.raw import RawData
from seam.data.scratch import Scratch, Spilled
from seam.errors import DamagedFileError, DataError, words
from seam.files import check_archive

_PIECE = 1 << 22
_MOST_RATIO = 200
"""Of pictures that are mostly of one colour; what compresses further is made to fill a disk."""
_DAMAGE = (OSError, ValueError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)


def load_npz(path: Path, scratch: Scratch) -> RawData:
    """Read labels, and images into a file; nothing in the file is ever executed (arrays of Python objects are refused).

    Without `classes` the classes are "0", "1", ... up to the greatest label in y_train.

    Args:
        path: file with x_* of dtype uint8 and shape (n, height, width), (n, height, width, 1) or
            (n, height, width, 3), and y_* of an integer dtype and shape (n,).
        scratch: where the pixels go.

    Raises:
        DataError: the file or one of its arrays is missing, damaged, or of another type or shape.
    """
    return raw_data(_read(path, scratch), path)


def npz_classes(path: Path) -> tuple[str, ...]:
    """The classes alone; the images are not read.

    Raises:
        DataError: as `load_npz`.
    """
    return classes_of(_read(path, None, ("y_train", "classes")), path)


def _read(path: Path, scratch: Scratch | None, wanted: Sequence[str] = (*ARRAYS, *OPTIONAL)) -> dict[str, Any]:
    """The arrays by name; of images, those in `scratch`."""
    try:
        check_plain(path)
        if not zipfile.is_zipfile(path):
            path.open("rb").close()
            raise DataError(
                f"{path}: expected an .npz file written by numpy.savez, got a file that is not one, or is truncated;"
                " write it again."
            )
        with np.load(path, allow_pickle=False) as archive:
            check_archive(archive.zip, path, _MOST_RATIO)
            check_there(archive.files, path)
            there = [name for name in wanted if name in archive.files]
            return {
                name: _image_member(archive, name, path, scratch)
                if scratch is not None and name.startswith("x_")
                else _member(archive, name, path)
                for name in there
            }
    except FileNotFoundError as e:
        raise no_such_file(path, "an .npz") from e
    except DataError:
        raise
    except DamagedFileError as e:
        raise DataError(str(e)) from e
    except _DAMAGE as e:
        raise DataError(
            f"{path}: expected an .npz file written by numpy.savez, got: {words(e)}; write it again."
        ) from e


def _member(archive: Any, name: str, path: Path) -> npt.NDArray[Any]:
    _check_size(archive, name, path)
    try:
        array: npt.NDArray[Any] = archive[name]
    except _DAMAGE as e:
        reason = (
            "an array of Python objects, which could execute code and is never loaded"
            if "allow_pickle" in str(e)
            else f"damaged bytes ({words(e)})"
        )
        raise DataError(
            f"{path}[{name}]: expected a plain array, got {reason}; save it again as uint8 (images) or int64 (labels)."
        ) from e
    if not isinstance(array, np.ndarray):
        raise DataError(
            f"{path}[{name}]: expected a numpy array, got a file of another type in the archive; write it with"
            " numpy.savez."
        )
    return array


def _image_member(archive: Any, name: str, path: Path, scratch: Scratch) -> list[Spilled]:
    """The images of an array, brought to `scratch` piece by piece."""
    _check_size(archive, name, path)
    header = _header(archive, name)
    if header is None:  # as numpy reads it, whole
        return [scratch.put(image) for image in checked_images(_member(archive, name, path), name, path)]
    shape = checked_images(np.broadcast_to(np.uint8(0), header), name, path).shape
    try:
        with archive.zip.open(f"{name}.npy") as member:
            _read_header(member)
            return scratch.put_all(_pieces(member, math.prod(shape)), shape[0], shape[1:])
    except _DAMAGE as e:
        raise DataError(
            f"{path}[{name}]: expected a plain array, got damaged bytes ({words(e)}); save it again as uint8."
        ) from e


def _check_size(archive: Any, name: str, path: Path) -> None:
    """Raise a DataError for an array that says it is larger than its bytes, before memory is asked for."""
    found = _any_header(archive, name)
    if found is None or found[2].hasobject:  # refused when it is read
        return
    shape, _, dtype = found
    wanted, there = math.prod(shape) * max(1, dtype.itemsize), archive.zip.getinfo(f"{name}.npy").file_size
    if min(shape, default=0) < 0 or wanted > there:
        raise DataError(
            f"{path}[{name}]: expected the {wanted:,} bytes of shape {shape}, got {there:,}; write the file again."
        )


def _header(archive: Any, name: str) -> tuple[int, ...] | None:
    """The shape of an array that lies in the archive as uint8, row by row; None: it does not, or cannot be read."""
    found = _any_header(archive, name)
    return None if found is None or found[2] != np.uint8 or found[1] else found[0]


def _any_header(archive: Any, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]] | None:
    """As `_read_header`; None: it cannot be read."""
    try:
        with archive.zip.open(f"{name}.npy") as member:
            return _read_header(member)
    except (*_DAMAGE, KeyError):
        return None


def _read_header(member: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """(shape, whether it lies column by column, dtype) of an array whose file was just opened."""
    numpys: Any = np.lib.format
    readers = {(1, 0): numpys.read_array_header_1_0, (2, 0): numpys.read_array_header_2_0}
    version = numpys.read_magic(member)
    if version not in readers:
        raise ValueError(f"version {version} of numpy's format")
    header: tuple[tuple[int, ...], bool, np.dtype[Any]] = readers[version](member)
    return header


def _pieces(member: Any, size: int) -> Iterator[bytes]:
    """The next `size` bytes of a file, a few megabytes at a time."""
    while size > 0:
        piece = member.read(min(size, _PIECE))
        if not piece:
            raise EOFError(f"{size} bytes are missing")
        size -= len(piece)
        yield piece
