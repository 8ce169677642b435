"""Decoded images in a file of their own, while a data set is read: it may hold more than memory does."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from seam.data.stored import StoredArray

Pixels = npt.NDArray[np.uint8]


class Scratch:
    """A file without a name that images are put into one after the other; it goes away with the last of them."""

    def __init__(self, folder: Path | None = None) -> None:
        """Make an empty file in a folder; None: where temporary files lie."""
        self.folder = Path(tempfile.gettempdir()) if folder is None else folder
        self._file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115  lives as long as its images
        self._size = 0

    def put(self, pixels: Pixels) -> Spilled:
        """Append an image, shape (height, width, channels)."""
        (spilled,) = self.put_all([np.ascontiguousarray(pixels).tobytes()], 1, pixels.shape)
        return spilled

    def put_all(self, pieces: Iterable[bytes], count: int, shape: tuple[int, ...]) -> list[Spilled]:
        """Append images of one shape, whose bytes come in pieces of any length."""
        first, size = self._size, int(np.prod(shape, dtype=np.int64))
        for piece in pieces:
            self._file.write(piece)
            self._size += len(piece)
        self._file.flush()
        return [Spilled(self, first + i * size, shape) for i in range(count)]

    def array(self, offset: int, shape: tuple[int, ...]) -> StoredArray:
        """Images of one shape that lie one after the other."""
        return StoredArray(self.folder, offset, shape, file=self._file.fileno())


@dataclass(frozen=True)
class Spilled:
    """An image in a scratch file."""

    scratch: Scratch
    offset: int
    """Of its first byte."""
    shape: tuple[int, ...]
    """As it lies in the file: (height, width, channels)."""
    repeated: int = 1
    """How often its channels are repeated when it is read."""

    def read(self) -> Pixels:
        """Its pixels, shape (height, width, channels)."""
        pixels: Pixels = self.scratch.array(self.offset, (1, *self.shape))[0]
        return pixels.repeat(self.repeated, axis=2)

    def in_colour(self) -> Spilled:
        """The same with its grey channel three times."""
        return replace(self, repeated=3)


def together(images: Sequence[Pixels | Spilled]) -> StoredArray:
    """Images of one shape as one array: where they lie one after the other already, or in a file of its own."""
    first = images[0]
    if isinstance(first, Spilled):
        size = int(np.prod(first.shape, dtype=np.int64))
        if all(image == replace(first, offset=first.offset + i * size) for i, image in enumerate(images)):
            array = first.scratch.array(first.offset, (len(images), *first.shape))
            return array if first.repeated == 1 else _copied(images, Scratch(first.scratch.folder))
        return _copied(images, Scratch(first.scratch.folder))
    return _copied(images, Scratch())


def _copied(images: Sequence[Pixels | Spilled], scratch: Scratch) -> StoredArray:
    spilled = [scratch.put(image.read() if isinstance(image, Spilled) else image) for image in images]
    return scratch.array(0, (len(images), *spilled[0].shape))
