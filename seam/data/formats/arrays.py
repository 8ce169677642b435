"""A data set as arrays by name, whatever file they came in: x_train, y_train, x_test, y_test, perhaps x_val, y_val."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seam.data.prepared import Split
from seam.data.raw import RawData, RawImage
from seam.errors import DataError

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
OPTIONAL = ("x_val", "y_val", "classes")


def raw_data(arrays: Mapping[str, Any], path: Path) -> RawData:
    """The images in their order, each named by its file, array and place.

    Args:
        arrays: x_*: images, as `checked_images` gives them, or where they lie in a file; y_*: integers,
            shape (n,); perhaps `classes`: text, shape (classes,).
        path: the file they came in.

    Raises:
        DataError: labels or classes of another type or number, or val without its images or labels.
    """
    images: list[RawImage] = []
    for split in _splits(arrays, path):
        x = arrays[f"x_{split}"]
        y = _labels(arrays[f"y_{split}"], f"y_{split}", len(x), path)
        images += [RawImage(f"{path}[x_{split}:{i}]", split, int(y[i]), x[i]) for i in range(len(x))]
    return RawData(tuple(images), classes_of(arrays, path))


def check_there(names: Collection[str], path: Path) -> None:
    """Raise a DataError unless a file has all of `ARRAYS`."""
    missing = [name for name in ARRAYS if name not in names]
    if missing:
        raise DataError(
            f"{path}: expected the arrays {', '.join(ARRAYS)}, missing: {', '.join(missing)}; found:"
            f" {', '.join(names) or 'none'}."
        )


def no_such_file(path: Path, kind: str) -> DataError:
    """The error for a file that is not there; `kind` in words, with its article."""
    return DataError(f"{path}: no such file, expected {kind} file with {', '.join(ARRAYS)}", hint="data_path")


def checked_shape(shape: tuple[int, ...], dtype: str, name: str, path: Path) -> tuple[int, ...]:
    """The shape of images with their channels; a DataError unless they are of uint8 and of one or three."""
    full = (*shape, 1) if len(shape) == 3 else shape
    if dtype != "uint8" or len(full) != 4 or full[3] not in (1, 3) or min(full) <= 0:
        wanted = (
            "dtype uint8 and shape (n, height, width), (n, height, width, 1) or (n, height, width, 3), none of them"
            " zero"
        )
        raise DataError(f"{path}[{name}]: expected {wanted}, got dtype {dtype} and shape {shape}; convert the images.")
    return full


def checked_images(x: npt.NDArray[Any], name: str, path: Path) -> npt.NDArray[np.uint8]:
    """Images with their channels; a DataError as of `checked_shape`."""
    return x.reshape(checked_shape(x.shape, str(x.dtype), name, path))


def classes_of(arrays: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    """The names in `classes`, or the numbers up to the greatest label of y_train."""
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


def _splits(arrays: Mapping[str, Any], path: Path) -> tuple[Split, ...]:
    """Those that are there, train first; a DataError where val has images or labels alone."""
    there = [name for name in ("x_val", "y_val") if name in arrays]
    if len(there) == 1:
        raise DataError(
            f"{path}: expected x_val and y_val or neither, got {there[0]} alone; add the other or remove it."
        )
    return ("train", "val", "test") if there else ("train", "test")


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
