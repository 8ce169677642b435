"""A data set in one .npz file: x_train, y_train, x_test, y_test and, if wanted, x_val, y_val and `classes`."""

from __future__ import annotations

import lzma
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seam.data.pictures import check_plain
from seam.data.prepared import Split
from seam.data.raw import RawData, RawImage
from seam.data.scratch import Scratch, Spilled
from seam.errors import DamagedFileError, DataError
from seam.files import check_archive

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
OPTIONAL = ("x_val", "y_val", "classes")
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
    arrays = _read(path, scratch)
    images: list[RawImage] = []
    for split in _splits(arrays, path):
        x = arrays[f"x_{split}"]
        y = _labels(arrays[f"y_{split}"], f"y_{split}", len(x), path)
        images += [RawImage(f"{path}[x_{split}:{i}]", split, int(y[i]), x[i]) for i in range(len(x))]
    return RawData(tuple(images), _classes(arrays, path))


def npz_classes(path: Path) -> tuple[str, ...]:
    """The classes alone; the images are not read.

    Raises:
        DataError: as `load_npz`.
    """
    return _classes(_read(path, None, ("y_train", "classes")), path)


def _splits(arrays: Mapping[str, Any], path: Path) -> tuple[Split, ...]:
    """Those that are there, train first; a DataError where val has images or labels alone."""
    there = [name for name in ("x_val", "y_val") if name in arrays]
    if len(there) == 1:
        raise DataError(
            f"{path}: expected x_val and y_val or neither, got {there[0]} alone; add the other or remove it."
        )
    return ("train", "val", "test") if there else ("train", "test")


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
            missing = [name for name in ARRAYS if name not in archive.files]
            if missing:
                raise DataError(
                    f"{path}: expected the arrays {', '.join(ARRAYS)}, missing: {', '.join(missing)}; found:"
                    f" {', '.join(archive.files) or 'none'}."
                )
            there = [name for name in wanted if name in archive.files]
            return {
                name: _image_member(archive, name, path, scratch)
                if scratch is not None and name.startswith("x_")
                else _member(archive, name, path)
                for name in there
            }
    except FileNotFoundError as e:
        raise DataError(
            f"{path}: no such file, expected an .npz file with {', '.join(ARRAYS)}", hint="data_path"
        ) from e
    except DataError:
        raise
    except DamagedFileError as e:
        raise DataError(str(e)) from e
    except _DAMAGE as e:
        raise DataError(
            f"{path}: expected an .npz file written by numpy.savez, got: {_one_line(e)}; write it again."
        ) from e


def _member(archive: Any, name: str, path: Path) -> npt.NDArray[Any]:
    _check_size(archive, name, path)
    try:
        array: npt.NDArray[Any] = archive[name]
    except _DAMAGE as e:
        reason = (
            "an array of Python objects, which could execute code and is never loaded"
            if "allow_pickle" in str(e)
            else f"damaged bytes ({_one_line(e)})"
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
        return [scratch.put(image) for image in _images(_member(archive, name, path), name, path)]
    shape = _images(np.broadcast_to(np.uint8(0), header), name, path).shape
    try:
        with archive.zip.open(f"{name}.npy") as member:
            _read_header(member)
            return scratch.put_all(_pieces(member, math.prod(shape)), shape[0], shape[1:])
    except _DAMAGE as e:
        raise DataError(
            f"{path}[{name}]: expected a plain array, got damaged bytes ({_one_line(e)}); save it again as uint8."
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


def _images(x: npt.NDArray[Any], name: str, path: Path) -> npt.NDArray[np.uint8]:
    images = x[..., None] if x.ndim == 3 else x
    good_shape = images.ndim == 4 and images.shape[3] in (1, 3) and min(images.shape) > 0
    if x.dtype != np.uint8 or not good_shape:
        wanted = (
            "dtype uint8 and shape (n, height, width), (n, height, width, 1) or (n, height, width, 3), none of them"
            " zero"
        )
        raise DataError(
            f"{path}[{name}]: expected {wanted}, got dtype {x.dtype} and shape {x.shape}; convert the images."
        )
    return images


def _labels(y: npt.NDArray[Any], name: str, count: int, path: Path) -> npt.NDArray[Any]:
    if y.dtype.kind not in "iu" or y.ndim != 1:
        raise DataError(
            f"{path}[{name}]: expected integer labels of shape (n,), got dtype {y.dtype} and shape {y.shape}; convert"
            " the labels."
        )
    if len(y) != count:
        raise DataError(
            f"{path}[{name}]: expected {count} labels, one for each image in x{name[1:]}, got {len(y)}; make their"
            " lengths agree."
        )
    return y


def _classes(arrays: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    if "classes" not in arrays:
        y = arrays["y_train"]
        return tuple(str(i) for i in range(min(max(int(y.max()) + 1, 1), len(y))))
    names = arrays["classes"]
    if names.dtype.kind not in "Uiu" or names.ndim != 1 or len(names) == 0:
        raise DataError(
            f"{path}[classes]: expected text of shape (number of classes,), got dtype {names.dtype} and shape"
            f" {names.shape}; save a list of str."
        )
    classes = tuple(str(c) for c in names)
    if len(set(classes)) != len(classes):
        twice = next(c for c in classes if classes.count(c) > 1)
        raise DataError(f"{path}[classes]: expected each class once, got '{twice}' more than once; rename it.")
    return classes


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
