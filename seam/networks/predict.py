"""A network's outputs on many images, and how many of them are right."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seam.data.images import LabelledImages


@torch.no_grad()
def predict(
    model: Callable[[Tensor], Tensor], data: LabelledImages, preprocess: nn.Module, batch_size: int = 256
) -> Float[Tensor, "images classes"]:
    """Logits of every image in order, in float32, no augmentation; `model` must not be in training mode."""
    return torch.cat([model(preprocess(images)) for images in data.images.split(batch_size)])


def accuracy(logits: Float[Tensor, "images classes"], labels: Int[Tensor, " images"]) -> float:
    """Fraction of images whose largest logit is their label's."""
    return float((logits.argmax(1) == labels).double().mean())
