"""Attacks that see the student itself: what it withstands, whatever it inherited.

A student that inherits few defects of its source is not robust: these attacks say so. They run in
pixel space, pixels in [0, 1].
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seam.configs.defects import WhiteboxConfig
from seam.data.images import LabelledImages
from seam.defects._advertorch import LinfFABAttack, LinfPGDAttack

Pixels = Float[Tensor, "batch channels height width"]
Attack = Literal["pgd", "fab"]
_ROUNDING = 1e-6
"""By how much a float32 image may be beyond the budget."""


@dataclass(frozen=True)
class Whitebox:
    """One attack on one student; fractions."""

    attack: Attack
    accuracy: float
    """Share of clean images classified correctly."""
    robust_accuracy: float
    """Share of images classified correctly before and after the attack."""
    eps_pixel: float
    """L-infinity budget, pixels in [0, 1]."""
    num_images: int


class OnPixels(nn.Module):
    """A frozen copy of a model in eval mode, for pixels in [0, 1] instead of normalised images."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        """Take the normalisation of pixels in [0, 1], a value for each channel."""
        super().__init__()
        self.model = copy.deepcopy(model)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, pixels: Pixels) -> Float[Tensor, "batch classes"]:
        """Class scores."""
        scores: Tensor = self.model((pixels - self.mean) / self.std)
        return scores


def whitebox_accuracy(
    model: nn.Module,
    data: LabelledImages,
    mean: Sequence[float],
    std: Sequence[float],
    attack: Attack,
    config: WhiteboxConfig,
    seed: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Whitebox:
    """Accuracy of a model under an attack on itself.

    Args:
        model: maps normalised images to class scores; it is not changed.
        data: images and labels on the model's device.
        mean: normalisation per channel, pixels in [0, 1].
        std: likewise.
        attack: "pgd": projected gradient ascent of the cross-entropy (Madry et al. 2018); "fab":
            the nearest boundary (Croce & Hein 2020), which needs no step size and is not misled by
            small gradients.
        config: budget and iterations.
        seed: of the random start of PGD; FAB draws nothing.
        progress: called with the number of images done.
    """
    on_pixels = OnPixels(model, mean, std).to(data.labels.device)
    size = config.batch_size if attack == "pgd" else config.fab_batch_size
    right = survived = done = 0
    with torch.random.fork_rng(devices=[data.labels.device] if data.labels.is_cuda else []):
        torch.manual_seed(seed)
        for images, labels in zip(data.images.split(size), data.labels.split(size), strict=True):
            pixels = (images.permute(0, 3, 1, 2).float() / 255).expand(-1, len(mean), -1, -1).contiguous()
            attacked = attack_pixels(on_pixels, pixels, labels, attack, config)
            with torch.no_grad():
                correct = on_pixels(pixels).argmax(1) == labels
                robust = correct & (on_pixels(attacked).argmax(1) == labels)
            right, survived, done = right + int(correct.sum()), survived + int(robust.sum()), done + len(labels)
            progress(done)
    return Whitebox(attack, right / done, survived / done, config.eps_pixel, done)


def attack_pixels(
    model: OnPixels, pixels: Pixels, labels: Int[Tensor, " batch"], attack: Attack, config: WhiteboxConfig
) -> Pixels:
    """Images within the budget of `pixels` that the model is meant to get wrong.

    An image FAB finds none for stays as it is.
    """
    if attack == "pgd":
        loss = nn.CrossEntropyLoss(reduction="sum")
        bounds = {"clip_min": 0.0, "clip_max": 1.0}
        pgd = LinfPGDAttack(
            model, loss, config.eps_pixel, config.steps, config.step_pixel, rand_init=True, targeted=False, **bounds
        )
        found: Tensor = pgd.perturb(pixels, labels)
        return found
    fab = LinfFABAttack(model, n_restarts=1, n_iter=config.fab_steps, eps=config.eps_pixel)
    with pixels.device:  # it makes tensors on torch's default device
        found = fab.perturb(pixels, labels)
    near = (found - pixels).abs().flatten(1).amax(1) <= config.eps_pixel + _ROUNDING
    return torch.where(near.view(-1, 1, 1, 1), found, pixels)
