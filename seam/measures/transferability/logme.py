"""LogME: how probable the labels are under a linear model of the features, averaged over its weights."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

_ROUNDS = 500
_SETTLED = 1e-9
"""Relative change of the ratio of both precisions at which the search for them ends."""
_TINY = 1e-12
"""Share of the largest eigenvalue below which there is no direction; and least squared residual, a label."""


def logme(features: Float[Tensor, "images features"], labels: Int[Tensor, " images"]) -> float:
    """Logarithm of the maximum evidence, an image, averaged over the classes; higher is better.

    Each class against the rest is a regression y = F w + noise, with w normal of precision alpha and
    noise of precision beta; the evidence p(y | F, alpha, beta) is maximised over both.

    Source: You et al. 2021, "LogME: Practical Assessment of Pre-trained Models for Transfer
    Learning", equations 2 and 3 and algorithm 1; *same*, with the fixed point of the extended paper
    (2022) in the eigenbasis, run until it settles.

    Args:
        features: what the network's last layer receives, not centred, as published.
        labels: of two classes or more.
    """
    values, count = features.double(), len(labels)
    basis, singular, _ = torch.linalg.svd(values, full_matrices=False)
    spectrum = singular.square()
    kept = spectrum > _TINY * spectrum.max()
    targets = F.one_hot(labels).double()
    targets = targets[:, targets.any(0)]
    along = (basis[:, kept].T @ targets).square()
    outside = (targets.square().sum(0) - along.sum(0)).clamp(min=0)
    return float(_evidence(spectrum[kept], along, outside, count).mean()) / count


def _evidence(
    spectrum: Float[Tensor, " rank"],
    along: Float[Tensor, "rank classes"],
    outside: Float[Tensor, " classes"],
    count: int,
) -> Float[Tensor, " classes"]:
    """The log evidence at its maximum.

    Args:
        spectrum: eigenvalues of the features' products, not zero.
        along: squared length of each class's labels along each eigenvector.
        outside: what is left of it outside all of them.
        count: images.
    """
    rows = spectrum[:, None]
    ratio = torch.ones_like(outside)
    for _ in range(_ROUNDS):
        alpha, beta, _, _ = _precisions(rows, along, outside, count, ratio)
        before, ratio = ratio, alpha / beta
        if bool(((ratio - before).abs() <= _SETTLED * before).all()):
            break
    alpha, beta, length, residual = _precisions(rows, along, outside, count, ratio)
    fit = beta * residual + alpha * length
    spread = len(spectrum) * alpha.log() - (alpha + beta * rows).log().sum(0)
    return 0.5 * (spread + count * beta.log() - fit - count * math.log(2 * math.pi))


def _precisions(rows: Tensor, along: Tensor, outside: Tensor, count: int, ratio: Tensor) -> tuple[Tensor, ...]:
    """The next alpha and beta, and the squared length of the mean weights and of what they leave over."""
    shrunk = rows / (rows + ratio)
    used = shrunk.sum(0)
    length = (along * shrunk / (rows + ratio)).sum(0).clamp(min=_TINY)
    residual = ((along * (1 - shrunk).square()).sum(0) + outside).clamp(min=_TINY * count)
    return (used / length).clamp(min=_TINY), (count - used) / residual, length, residual
