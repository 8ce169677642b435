"""Images with their labels: on the device that computes where they fit, otherwise read when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int
from torch import Tensor

from seam.data.lazy import Images, LazyImages, joined, select
from seam.data.prepared import ImageData, Split
from seam.data.stored import IN_MEMORY, StoredArray


@dataclass(frozen=True)
class LabelledImages:
    """Images and their labels, on one device."""

    images: Images
    """As stored (uint8 NHWC), or as their own loader makes them for the network; what brings them to
    the network's input goes with them."""
    labels: Int[Tensor, " images"]

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> LabelledImages:
        """The same on `device`."""
        return LabelledImages(_to(self.images, device), self.labels.to(device))


def _to(images: Images, device: torch.device) -> Images:
    """On a GPU, stored images lie whole where they take at most half of the memory that is free."""
    if device.type == "cuda" and isinstance(images, LazyImages) and isinstance(images.maker, StoredArray):
        size = len(images) * (images.maker.nbytes // max(1, len(images.maker)))
        if size <= torch.cuda.mem_get_info(device)[0] // 2:
            return torch.cat([piece.to(device) for piece in images.split(1024)])
    return images.to(device)


def images_of(data: ImageData, split: Split, rows: npt.NDArray[np.int64]) -> LabelledImages:
    """Some of the images of one split of a data set, as it is given, on the CPU; `rows` has shape (n,)."""
    return LabelledImages(rows_of(data, split, rows), torch.from_numpy(data.given(split)[1][rows]))


def rows_of(data: ImageData, split: Split, rows: npt.NDArray[np.int64]) -> Images:
    """Images alone, as of `images_of`."""
    images = data.given(split)[0]
    if isinstance(images, StoredArray) and len(rows) * (images.nbytes // max(1, len(images))) > IN_MEMORY:
        return LazyImages(images, rows)
    return torch.from_numpy(images[rows])


@dataclass(frozen=True)
class Redrawn:
    """The training images of a binary problem, as many negatives (label 1) as there were drawn anew for every epoch."""

    train: LabelledImages
    rest: Images
    """All negatives to draw from, on the device of `train`."""

    def epoch(self, seed: int, number: int) -> LabelledImages:
        """Images of one epoch, positives first; a function of (seed, number) alone."""
        wanted = select(self.train.images, self.train.labels == 0)
        generator = torch.Generator().manual_seed(hash((seed, number, 1)) % 2**63)
        chosen = torch.randperm(len(self.rest), generator=generator)[: len(self.train) - len(wanted)].to(
            self.rest.device
        )
        labels = torch.ones_like(self.train.labels)
        labels[: len(wanted)] = 0
        return LabelledImages(joined([wanted, select(self.rest, chosen)]), labels)


def redrawn(train: LabelledImages, spare: LabelledImages | None) -> Redrawn | None:
    """`train` with negatives from itself and from `spare`; None without `spare`."""
    if spare is None:
        return None
    return Redrawn(train, joined([select(train.images, train.labels == 1), spare.to(train.labels.device).images]))
