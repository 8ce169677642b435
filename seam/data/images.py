"""Images resident on the device, shuffled and augmented there, a batch at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from seam.data.prepared import ImageData, Split


@dataclass(frozen=True)
class LabelledImages:
    """Images as stored (uint8 NHWC) and their labels, on one device."""

    images: UInt8[Tensor, "images h w c"]
    labels: Int[Tensor, " images"]

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> LabelledImages:
        """The same on `device`."""
        return LabelledImages(self.images.to(device), self.labels.to(device))


def images_of(data: ImageData, split: Split, rows: npt.NDArray[np.int64]) -> LabelledImages:
    """Some of the images of one split of a data set, as it is given, on the CPU; `rows` has shape (n,)."""
    images, labels = data.given(split)
    return LabelledImages(torch.from_numpy(images[rows]), torch.from_numpy(labels[rows]))


@dataclass(frozen=True)
class Redrawn:
    """The training images of a binary problem, as many negatives (label 1) as there were drawn anew for every epoch."""

    train: LabelledImages
    rest: UInt8[Tensor, "negatives h w c"]
    """All negatives to draw from, on the device of `train`."""

    def epoch(self, seed: int, number: int) -> LabelledImages:
        """Images of one epoch, positives first; a function of (seed, number) alone."""
        wanted = self.train.images[self.train.labels == 0]
        generator = torch.Generator().manual_seed(hash((seed, number, 1)) % 2**63)
        chosen = torch.randperm(len(self.rest), generator=generator)[: len(self.train) - len(wanted)].to(
            self.rest.device
        )
        labels = torch.ones_like(self.train.labels)
        labels[: len(wanted)] = 0
        return LabelledImages(torch.cat([wanted, self.rest[chosen]]), labels)


def redrawn(train: LabelledImages, spare: LabelledImages | None) -> Redrawn | None:
    """`train` with negatives from itself and from `spare`; None without `spare`."""
    return (
        None
        if spare is None
        else Redrawn(train, torch.cat([train.images[train.labels == 1], spare.images.to(train.images.device)]))
    )
