"""The images of a search: what it learns from, an epoch at a time, and what its rounds are measured on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from seam.checkpoint import fingerprint
from seam.configs.search import SearchConfig
from seam.data.images import LabelledImages, Redrawn, redrawn
from seam.runtime import Runtime
from seam.training.batches import num_batches, training_batches


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
        drawn = self.train if self.negatives is None else self.negatives.epoch(self.seed, number)
        return self.batches(drawn, number)

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
