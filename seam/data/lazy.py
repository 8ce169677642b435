"""Images that are not held in memory, in the place of a tensor of them: read, or made, when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Rows = npt.NDArray[np.int64]


@runtime_checkable
class Maker(Protocol):
    """Where images come from."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(images, ...), those of one image being the same for all."""
        ...

    def batches(self, chosen: Iterable[Rows], draw: int) -> Iterator[Tensor]:
        """Images of each of the rows of `chosen`, on the CPU.

        Args:
            chosen: indices of the images of a batch, for each batch.
            draw: what varies at random is a function of this number and of the image.
        """
        ...

    def identity(self, rows: Rows) -> Iterator[Tensor]:
        """What tells these images from others, a piece at a time."""
        ...


@dataclass(frozen=True)
class LazyImages:
    """Some images of a maker; indexed and split as a tensor of images is."""

    maker: Maker
    rows: Rows
    """Which of its images, in this order."""
    device: torch.device = torch.device("cpu")
    """Where batches of them go."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """(images, ...)."""
        return (len(self.rows), *self.maker.shape[1:])

    @property
    def nbytes(self) -> int:
        """Memory they take for good."""
        return 0

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        """Some of them as a tensor."""
        return next(self.batches([torch.arange(len(self))[rows] if isinstance(rows, slice) else rows]))

    def split(self, size: int) -> Iterator[Tensor]:
        """All of them in order, `size` at a time."""
        return self.batches(torch.arange(len(self)).split(size))

    def batches(self, chosen: Iterable[Tensor], draw: int = 0) -> Iterator[Tensor]:
        """As tensors on the device; see `Maker.batches`."""
        for images in self.maker.batches((self.rows[at.cpu().numpy()] for at in chosen), draw):
            yield images.to(self.device)

    def select(self, rows: Tensor) -> LazyImages:
        """Those of these indices, or of a bool for each."""
        return LazyImages(self.maker, self.rows[rows.cpu().numpy()], self.device)

    def to(self, device: torch.device) -> LazyImages:
        """The same, with batches on `device`."""
        return LazyImages(self.maker, self.rows, device)

    def identity(self) -> Iterator[Tensor]:
        """What tells them from others, a piece at a time."""
        return self.maker.identity(self.rows)


class Joined:
    """The images of several makers, one after the other."""

    def __init__(self, parts: Sequence[LazyImages]) -> None:
        """Take one or more, of images of one shape."""
        self._parts = parts
        self._first = np.cumsum([0, *map(len, parts)])
        self.shape = (int(self._first[-1]), *parts[0].shape[1:])

    def batches(self, chosen: Iterable[Rows], draw: int) -> Iterator[Tensor]:
        """As of `Maker.batches`, each part's images being made as those of that part alone."""
        for rows in chosen:
            of_part = np.searchsorted(self._first, rows, side="right") - 1
            made: Tensor | None = None
            for number in np.unique(of_part):
                part, there = self._parts[number], np.flatnonzero(of_part == number)
                own = torch.from_numpy(rows[there] - self._first[number])
                images = next(part.batches([own], draw)).cpu()
                made = images.new_empty((len(rows), *images.shape[1:])) if made is None else made
                made[torch.from_numpy(there)] = images
            yield torch.empty((0, *self.shape[1:])) if made is None else made

    def identity(self, rows: Rows) -> Iterator[Tensor]:
        """As of `Maker.identity`; the rows, then all that the parts are told by."""
        yield torch.from_numpy(rows)
        for part in self._parts:
            yield from part.identity()


Images = Tensor | LazyImages
"""Of the kind that `LabelledImages` holds."""


def batches_of(images: Images, chosen: Iterable[Tensor], draw: int) -> Iterator[Tensor]:
    """Images of each batch of rows, on the device they belong to; see `Maker.batches`."""
    return images.batches(chosen, draw) if isinstance(images, LazyImages) else (images[rows] for rows in chosen)


def select(images: Images, rows: Tensor) -> Images:
    """Some images, without reading any that are lazy; `rows`: indices, or a bool for each."""
    return images.select(rows) if isinstance(images, LazyImages) else images[rows]


def in_memory(images: Images) -> Tensor:
    """All of them, as one tensor on the device they belong to."""
    return torch.cat(list(images.split(1024))) if isinstance(images, LazyImages) else images


def joined(parts: Sequence[Images]) -> Images:
    """Images one after the other, all lazy or all in memory, without reading any that are lazy."""
    lazy = [part for part in parts if isinstance(part, LazyImages)]
    if lazy:
        maker = Joined(lazy)
        return LazyImages(maker, np.arange(maker.shape[0]), lazy[0].device)
    return torch.cat([part for part in parts if isinstance(part, Tensor)])
