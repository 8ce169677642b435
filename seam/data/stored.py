"""Arrays of images that stay in their file: rows are read when they are asked for, and nothing else is held."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seam.errors import DataError

IN_MEMORY = 1 << 28
"""Bytes of images that are read whole; of more, rows are read when they are asked for."""
_PIECE = 1 << 24
"""Bytes that are read at once where all rows are gone through."""


class StoredArray:
    """A C-contiguous array in a file, read row by row; it is indexed along its first axis as a numpy array is.

    Rows are read, not mapped: what was read once takes none of the process's memory later.
    """

    def __init__(
        self, path: Path, offset: int, shape: tuple[int, ...], dtype: npt.DTypeLike = np.uint8, file: int | None = None
    ) -> None:
        """Open the file.

        Args:
            path: of the file; it may be deleted while it is open.
            offset: of the first byte of the array.
            shape: (rows, ...).
            dtype: of its values, as they lie in memory on this machine.
            file: its descriptor, where it is open; None: the path is opened.

        Raises:
            DataError: the file is shorter than the array.
        """
        self.shape = shape
        self.path = path
        self.dtype = np.dtype(dtype)
        self._offset, self._row = offset, self.dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
        self._file = os.open(path, os.O_RDONLY) if file is None else os.dup(file)
        weakref.finalize(self, os.close, self._file)
        end, size = offset + shape[0] * self._row, os.fstat(self._file).st_size
        if size < end:
            raise DataError(f"{path}: expected at least {end} bytes, got {size}", hint="rerun_producer", path=path)

    def __len__(self) -> int:
        """Number of rows."""
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Of the whole array, in the file."""
        return self.shape[0] * self._row

    def __getitem__(self, rows: Any) -> npt.NDArray[Any]:
        """A new array of one row (an integer), or of several (a slice, integers, or a bool for each row)."""
        if isinstance(rows, slice):
            first, last, step = rows.indices(len(self))
            return self._run(first, max(last, first)) if step == 1 else self._rows(np.arange(first, last, step))
        chosen = np.asarray(rows)
        if chosen.dtype == bool:
            chosen = np.flatnonzero(chosen)
        return self._rows(chosen.reshape(1))[0] if chosen.ndim == 0 else self._rows(chosen)

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        """The rows in order, some read ahead."""
        for piece in self.pieces():
            yield from piece

    def pieces(self) -> Iterator[npt.NDArray[Any]]:
        """Consecutive rows, a few megabytes at a time."""
        size = max(1, _PIECE // max(1, self._row))
        for first in range(0, len(self), size):
            yield self[first : first + size]

    def batches(self, chosen: Iterable[npt.NDArray[np.int64]], draw: int) -> Iterator[Tensor]:
        """Rows as tensors, a batch at a time; the same whatever `draw` is."""
        for rows in chosen:
            yield torch.from_numpy(self._rows(rows))

    def identity(self, rows: npt.NDArray[np.int64]) -> Iterator[Tensor]:
        """Every byte of these rows."""
        size = max(1, _PIECE // max(1, self._row))
        for first in range(0, len(rows), size):
            yield torch.from_numpy(self._rows(rows[first : first + size]))

    def _rows(self, chosen: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        count = len(self)
        if len(chosen) and not (-count <= int(chosen.min()) and int(chosen.max()) < count):
            raise IndexError(f"rows must be in -{count}..{count - 1}, got {int(chosen.min())}..{int(chosen.max())}")
        made = np.empty((len(chosen), *self.shape[1:]), self.dtype)
        into = made.view(np.uint8).reshape(len(chosen), self._row)
        for number, row in enumerate((chosen % max(count, 1)).tolist()):
            self._read(into[number], row)
        return made

    def _run(self, first: int, last: int) -> npt.NDArray[Any]:
        made = np.empty((last - first, *self.shape[1:]), self.dtype)
        self._read(made.reshape(-1).view(np.uint8), first)
        return made

    def _read(self, into: npt.NDArray[np.uint8], row: int) -> None:
        """Fill a flat array from the start of a row on."""
        view, at = memoryview(into.data), self._offset + row * self._row
        while view:
            got = os.preadv(self._file, [view], at)
            if not got:
                raise DataError(f"{self.path}: the file became shorter while it was read", hint="rerun_producer")
            view, at = view[got:], at + got
