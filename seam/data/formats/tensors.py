"""A data set in one .safetensors file: x_train, y_train, x_test, y_test and, if wanted, x_val, y_val and `classes`.

Of the layout in which `seam.data.prepared` keeps every data set, so that a file written there is
one, and DVC stores it once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from seam.data.formats.arrays import ARRAYS, OPTIONAL, check_there, checked_shape, classes_of, no_such_file, raw_data
from seam.data.pictures import check_plain
from seam.data.raw import RawData
from seam.data.scratch import Scratch, Spilled
from seam.errors import DataError

_PIECE = 1 << 22
_DTYPES = {"U8": "uint8", "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64"}
_LABELS = (*_DTYPES, "U16", "U32", "U64")
_DAMAGE = (OSError, SafetensorError, ValueError, OverflowError, MemoryError)


def load_tensors(path: Path, scratch: Scratch) -> RawData:
    """Read labels, and images into a file.

    Classes are a list of text in JSON, among the metadata; without it "0", "1", ... up to the
    greatest label in y_train.

    Args:
        path: file with x_* of dtype uint8 and shape (n, height, width), (n, height, width, 1) or
            (n, height, width, 3), and y_* of an integer dtype and shape (n,).
        scratch: where the pixels go.

    Raises:
        DataError: the file or one of its arrays is missing, damaged, or of another type or shape.
    """
    return raw_data(_read(path, scratch), path)


def tensors_classes(path: Path) -> tuple[str, ...]:
    """The classes alone; the images are not read.

    Raises:
        DataError: as `load_tensors`.
    """
    return classes_of(_read(path, None), path)


def _read(path: Path, scratch: Scratch | None) -> dict[str, Any]:
    """The arrays by name; of images, those in `scratch`; without one, what tells the classes."""
    try:
        check_plain(path)
        with safe_open(path, framework="numpy") as opened:
            there = list(opened.keys())
            check_there(there, path)
            wanted = [n for n in (*ARRAYS, *OPTIONAL) if n in there] if scratch is not None else ["y_train"]
            found: dict[str, Any] = {
                name: _images(opened, name, path, scratch)
                if scratch is not None and name.startswith("x_")
                else _integers(opened, name, path)
                for name in wanted
            }
            names = (opened.metadata() or {}).get("classes")
            return found if names is None else {**found, "classes": _names(names, path)}
    except FileNotFoundError as e:
        raise no_such_file(path, "a .safetensors") from e
    except _DAMAGE as e:
        raise DataError(
            f"{path}: expected a .safetensors file, got: {' '.join(str(e).split())}; write it again."
        ) from e


def _images(opened: Any, name: str, path: Path, scratch: Scratch) -> list[Spilled]:
    """The images of an array, brought to `scratch` piece by piece."""
    values = opened.get_slice(name)
    dtype = values.get_dtype()
    shape = checked_shape(tuple(values.get_shape()), _DTYPES.get(dtype, dtype), name, path)
    return scratch.put_all(_pieces(values, shape), shape[0], shape[1:])


def _pieces(values: Any, shape: tuple[int, ...]) -> Iterator[bytes]:
    """The bytes of the images, a few megabytes at a time."""
    step = max(1, _PIECE // int(np.prod(shape[1:])))
    for begin in range(0, shape[0], step):
        yield values[begin : min(begin + step, shape[0])].tobytes()


def _integers(opened: Any, name: str, path: Path) -> Any:
    dtype = opened.get_slice(name).get_dtype()
    if dtype not in _LABELS:
        raise DataError(f"{path}[{name}]: expected integer labels, got dtype {dtype}; convert the labels.")
    return opened.get_tensor(name)


def _names(text: str, path: Path) -> Any:
    """The classes among the metadata, as numpy has text."""
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(
            f"{path}: expected `classes` among its metadata to be a list of text in JSON, got {text[:40]!r}; write it"
            " again."
        )
    return np.array(names, dtype=str) if names else np.empty(0, "U1")
