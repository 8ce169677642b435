"""Stored images changed within a budget so that a network gets them wrong: signed steps, in whole grey levels."""

from __future__ import annotations

import torch
from jaxtyping import Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from seam.networks.source import Preprocess


def attacked(
    network: nn.Module,
    images: UInt8[Tensor, "images height width channels"],
    labels: Int[Tensor, " images"],
    preprocess: Preprocess,
    eps_pixel: float,
    steps: int,
    batch_size: int = 256,
) -> UInt8[Tensor, "images height width channels"]:
    """Images on which the network's cross-entropy is as high as these steps make it.

    Source: Madry et al. 2018 (projected gradient ascent). *Differs*: it starts at the images and ends
    in whole grey levels, as images are stored, so an odd one may lie half a level outside.

    Args:
        network: eval mode; on the device of the images.
        images: as stored.
        labels: of its classes.
        preprocess: to the network's input.
        eps_pixel: largest change of a pixel, of [0, 1].
        steps: each of 2.5 * eps_pixel / steps.
        batch_size: images at once.
    """
    budget = round(255 * eps_pixel)
    pieces = zip(images.split(batch_size), labels.split(batch_size), strict=True)
    return torch.cat([_ascent(network, some, of, preprocess, budget, steps) for some, of in pieces])


def _ascent(
    network: nn.Module, images: Tensor, labels: Tensor, preprocess: Preprocess, budget: int, steps: int
) -> Tensor:
    clean = images.permute(0, 3, 1, 2).float()
    low, high = (clean - budget).clamp(min=0), (clean + budget).clamp(max=255)
    now = clean
    for _ in range(steps):
        now = now.detach().requires_grad_()
        loss = F.cross_entropy(network(now * preprocess.scale + preprocess.shift).float(), labels, reduction="sum")
        (slope,) = torch.autograd.grad(loss, now)
        now = (now.detach() + 2.5 * budget / steps * slope.sign()).clamp(low, high)
    return now.detach().round().byte().permute(0, 2, 3, 1).contiguous()
