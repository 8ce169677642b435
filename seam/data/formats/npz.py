"""A data set in one .npz file: x_train, y_train, x_test, y_test and, if wanted, x_val, y_val and `classes`."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seam.data.prepared import Split
from seam.data.raw import RawData, RawImage
from seam.errors import DataError

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
OPTIONAL = ("x_val", "y_val", "classes")
_DAMAGE = (OSError, ValueError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)


def load_npz(path: Path) -> RawData:
    """Read images and labels; nothing in the file is ever executed (arrays of Python objects are refused).

    Without `classes` the classes are "0", "1", ... up to the greatest label in y_train.

    Args:
        path: file with x_* of dtype uint8 and shape (n, height, width), (n, height, width, 1) or
            (n, height, width, 3), and y_* of an integer dtype and shape (n,).

    Raises:
        DataError: the file or one of its arrays is missing, damaged, or of another type or shape.
    """
    arrays = _read(path)
    images: list[RawImage] = []
    for split in _splits(arrays, path):
        x = _images(arrays[f"x_{split}"], f"x_{split}", path)
        y = _labels(arrays[f"y_{split}"], f"y_{split}", len(x), path)
        images += [RawImage(f"{path}[x_{split}:{i}]", split, int(y[i]), x[i]) for i in range(len(x))]
    return RawData(tuple(images), _classes(arrays, path))


def npz_classes(path: Path) -> tuple[str, ...]:
    """The classes alone; the images are not read.

    Raises:
        DataError: as `load_npz`.
    """
    return _classes(_read(path, ("y_train", "classes")), path)


def _splits(arrays: dict[str, npt.NDArray[Any]], path: Path) -> tuple[Split, ...]:
    """Those that are there, train first; a DataError where val has images or labels alone."""
    there = [name for name in ("x_val", "y_val") if name in arrays]
    if len(there) == 1:
        raise DataError(
            f"{path}: expected x_val and y_val or neither, got {there[0]} alone; add the other or remove it."
        )
    return ("train", "val", "test") if there else ("train", "test")


def _read(path: Path, wanted: Sequence[str] = (*ARRAYS, *OPTIONAL)) -> dict[str, npt.NDArray[Any]]:
    try:
        if not zipfile.is_zipfile(path):
            path.open("rb").close()
            raise DataError(
                f"{path}: expected an .npz file written by numpy.savez, got a file that is not one, or is truncated;"
                " write it again."
            )
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in ARRAYS if name not in archive.files]
            if missing:
                raise DataError(
                    f"{path}: expected the arrays {', '.join(ARRAYS)}, missing: {', '.join(missing)}; found:"
                    f" {', '.join(archive.files) or 'none'}."
                )
            return {name: _member(archive, name, path) for name in wanted if name in archive.files}
    except FileNotFoundError as e:
        raise DataError(
            f"{path}: no such file, expected an .npz file with {', '.join(ARRAYS)}", hint="data_path"
        ) from e
    except DataError:
        raise
    except _DAMAGE as e:
        raise DataError(
            f"{path}: expected an .npz file written by numpy.savez, got: {_one_line(e)}; write it again."
        ) from e


def _member(archive: Any, name: str, path: Path) -> npt.NDArray[Any]:
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


def _classes(arrays: dict[str, npt.NDArray[Any]], path: Path) -> tuple[str, ...]:
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
