"""The images of a search: what it learns from, an epoch at a time, and what its rounds are measured on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from seam.checkpoint import fingerprint
from seam.configs.search import SearchConfig
from seam.data.images import LabelledImages, Redrawn, redrawn
from seam.runtime import Runtime
from seam.training.batches import num_batches, stacked_batches, training_batches


@runtime_checkable
class Epochs(Protocol):
    """What a search learns from."""

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        ...

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised batches and their labels, a function of `number` alone; any integer is an epoch."""
        ...


@dataclass(frozen=True)
class SearchImages:
    """Images on the device that computes, and how they become batches."""

    train: LabelledImages
    val: LabelledImages
    preprocess: nn.Module
    """uint8 NHWC images to the network's input."""
    batch_size: int
    augment: str
    seed: int
    """Of shuffling, augmentation and drawing."""
    spare: LabelledImages | None = None
    """Further negatives of a binary problem."""
    negatives: Redrawn | None = None
    """`train` with negatives that are drawn anew for every epoch; None: every epoch has the same
    images."""

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return num_batches(len(self.train), self.batch_size)

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised batches and their labels, a function of (seed, number) alone; any integer is an epoch."""
        return self.batches(self.drawn(number), number)

    def drawn(self, number: int) -> LabelledImages:
        """The images of an epoch, in no order."""
        return self.train if self.negatives is None else self.negatives.epoch(self.seed, number)

    def batches(self, data: LabelledImages, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """These images as an epoch's batches."""
        return training_batches(data, self.preprocess, self.batch_size, self.augment, self.seed, number)

    @property
    def nbytes(self) -> int:
        """Memory the images take."""
        rest = () if self.negatives is None else (self.negatives.rest,)
        return sum(images.nbytes for images in (self.train.images, self.val.images, *rest))

    def fingerprint(self) -> str:
        """Of every image and label, in their order, and of the normalisation."""
        rest = () if self.negatives is None else (self.negatives.rest,)
        known = dict(self.preprocess.named_buffers())
        return fingerprint(self.train.images, self.train.labels, self.val.images, self.val.labels, known, *rest)


@dataclass(frozen=True)
class StackedImages:
    """The images of several searches of one network: batches of all, along a first dimension."""

    members: Sequence[SearchImages]
    """With as many training images and as large batches each, on one device."""

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return self.members[0].steps

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Of each search the batches of its own epoch, and their labels."""
        first, seeds = self.members[0], [own.seed for own in self.members]
        drawn = [own.drawn(number) for own in self.members]
        return stacked_batches(drawn, first.preprocess, first.batch_size, first.augment, seeds, number)

    def of_val(self, size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Normalised images of val, `size` of each search at a time, and their labels.

        Also whether they count: searches with fewer repeat their last image, which then does not.
        """
        vals = [own.val for own in self.members]
        for start in range(0, max(map(len, vals)), size):
            rows = torch.arange(start, min(start + size, max(map(len, vals))), device=vals[0].labels.device)
            at = [rows.clamp(max=len(own) - 1) for own in vals]
            images = torch.cat([own.images[some] for own, some in zip(vals, at, strict=True)])
            labels = torch.stack([own.labels[some] for own, some in zip(vals, at, strict=True)])
            normalised = self.members[0].preprocess(images).unflatten(0, labels.shape)
            yield normalised, labels, torch.stack([rows == some for some in at])


def search_images(
    train: LabelledImages,
    val: LabelledImages,
    preprocess: nn.Module,
    config: SearchConfig,
    runtime: Runtime,
    seed: int,
    spare: LabelledImages | None = None,
) -> SearchImages:
    """Bring images to the runtime's device.

    Args:
        train: to learn from.
        val: to measure rounds on.
        preprocess: uint8 NHWC images to the network's input.
        config: batch size and augmentation count.
        runtime: the device counts.
        seed: of shuffling, augmentation and drawing.
        spare: further training images of label 1 ("other") of a binary problem; every epoch then
            draws as many of that label as `train` has, from both.
    """
    device = runtime.device
    here = train.to(device)
    return SearchImages(
        here,
        val.to(device),
        preprocess.to(device),
        config.batch_size,
        config.augment,
        seed,
        spare,
        redrawn(here, spare),
    )
