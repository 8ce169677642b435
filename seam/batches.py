"""Images resident on the device, shuffled and augmented there, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn


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


def training_batches(
    data: LabelledImages, preprocess: nn.Module, batch_size: int, augment: str, seed: int, epoch: int
) -> Iterator[tuple[Float[Tensor, "batch 3 h w"], Int[Tensor, " batch"]]]:
    """One epoch, shuffled, augmented and normalised; a function of (seed, epoch) alone, so a resumed run sees the same.

    The last batch is dropped when it is smaller than half a batch (and not the only one).

    Args:
        data: on the device that computes.
        preprocess: uint8 NHWC to the network's input.
        batch_size: images a step.
        augment: "crop_flip", "crop" (shift by up to an eighth of the side, zero padding) or "none".
        seed: of the run.
        epoch: 0, 1, ...
    """
    generator = torch.Generator().manual_seed(hash((seed, epoch)) % 2**63)
    device = data.labels.device
    count = len(data)
    order = torch.randperm(count, generator=generator).to(device)
    if augment != "none":
        rows, columns = _window(data, augment, generator)
        pad = data.images.shape[1] // 8
        padded = nn.functional.pad(data.images, (0, 0, pad, pad, pad, pad))
    for start in range(0, count, batch_size):
        chosen = order[start : start + batch_size]
        if start and len(chosen) < batch_size / 2:
            return
        images = data.images[chosen] if augment == "none" else padded[chosen[:, None, None], rows[chosen][:, :, None], columns[chosen][:, None, :]]
        yield preprocess(images), data.labels[chosen]


def _window(data: LabelledImages, augment: str, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Source rows and columns of every image's shifted (and flipped) window: two (images, side) index tensors."""
    count, height, width, _ = data.images.shape
    pad = height // 8
    shift = torch.randint(0, 2 * pad + 1, (2, count, 1), generator=generator)
    rows = shift[0] + torch.arange(height)
    columns = shift[1] + torch.arange(width)
    if augment == "crop_flip":
        flip = torch.rand(count, 1, generator=generator) < 0.5
        columns = torch.where(flip, columns.flip(1), columns)
    device = data.labels.device
    return rows.to(device), columns.to(device)


@torch.no_grad()
def predict(model: Callable[[Tensor], Tensor], data: LabelledImages, preprocess: nn.Module, batch_size: int = 256) -> Float[Tensor, "images classes"]:
    """Logits of every image in order, in float32, no augmentation; `model` must not be in training mode."""
    return torch.cat([model(preprocess(images)) for images in torch.split(data.images, batch_size)])


def accuracy(logits: Float[Tensor, "images classes"], labels: Int[Tensor, " images"]) -> float:
    """Fraction of images whose largest logit is their label's."""
    return float((logits.argmax(1) == labels).double().mean())
