"""Arrays from MATLAB's .mat files (before version 7.3), through scipy; nothing in them is executed."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seam.data.formats.published import Published
from seam.errors import DataError

_DAMAGE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    MemoryError,
    NotImplementedError,
    struct.error,
    zlib.error,
)


def read_mat(path: Path, published: Published, *names: str) -> list[npt.NDArray[Any]]:
    """The arrays called `names`, each as a list of its elements in MATLAB's order (shape (n,)).

    Raises:
        DataError: the file is missing or damaged, or has no such array.
    """
    from scipy.io import loadmat  # here: only .mat files need it
    from scipy.io.matlab import MatReadError

    try:
        content: dict[str, Any] = loadmat(path)
    except FileNotFoundError as e:
        raise DataError(
            f"{path}: no such file, expected a list of {published.title}; get it from {published.page}."
        ) from e
    except (*_DAMAGE, MatReadError) as e:
        reason = " ".join(str(e).split()) or type(e).__name__
        raise DataError(f"{path}: expected a .mat file of {published.title}, got: {reason}; {published.again}.") from e
    for name in names:
        if not isinstance(content.get(name), np.ndarray):
            there = ", ".join(key for key in content if not key.startswith("__")) or "none"
            raise DataError(
                f"{path}: expected the arrays {', '.join(names)} of {published.title}, '{name}' is missing; found:"
                f" {there}; {published.again}."
            )
    return [content[name].ravel(order="F") for name in names]


def numbers(array: npt.NDArray[Any], most: int, name: str, path: Path, published: Published) -> list[int]:
    """Its elements as integers in 1..most.

    Raises:
        DataError: one of them is not.
    """
    if array.dtype.kind not in "iuf":
        raise DataError(f"{path}[{name}]: expected integers in 1..{most}, got type {array.dtype}; {published.again}.")
    wrong = array[~((array >= 1) & (array <= most) & (array == np.floor(array)))]
    if len(wrong):
        raise DataError(f"{path}[{name}]: expected integers in 1..{most}, got {wrong[0]}; {published.again}.")
    return [int(i) for i in array]


def texts(array: npt.NDArray[Any], name: str, path: Path, published: Published) -> list[str]:
    """Elements of a cell array of text.

    Raises:
        DataError: one of them is not text.
    """
    found = [cell.item() if isinstance(cell, np.ndarray) and cell.size == 1 else cell for cell in array]
    wrong = next((cell for cell in found if not isinstance(cell, str)), None)
    if wrong is not None:
        raise DataError(
            f"{path}[{name}]: expected a cell array of text, got {type(wrong).__name__} in it; {published.again}."
        )
    return found
