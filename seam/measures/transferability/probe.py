"""A linear probe: a linear classifier on fixed features, judged on images that it was not fitted to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

STRENGTHS = (1.0, 0.1, 0.01, 0.001)
"""Weight decays that are tried, strongest first."""
_STEPS = 60
_Z95 = 1.959963984540054


@dataclass(frozen=True)
class Probe:
    """What linear classifiers say of images that they were not fitted to."""

    right: Bool[Tensor, " images"]
    log_likelihood: Float[Tensor, " images"]
    """Logarithm of the probability of each image's own label."""
    strength: float
    """The weight decay that was chosen."""

    @property
    def accuracy(self) -> float:
        """A fraction."""
        return float(self.right.double().mean())

    @property
    def interval(self) -> tuple[float, float]:
        """Of the accuracy, 95%."""
        return wilson(int(self.right.sum()), len(self.right))


@dataclass(frozen=True)
class Linear:
    """A classifier of standardised features."""

    mean: Float[Tensor, " features"]
    scale: Float[Tensor, " features"]
    weight: Float[Tensor, "classes features"]
    bias: Float[Tensor, " classes"]

    def __call__(self, features: Float[Tensor, "images features"]) -> Float[Tensor, "images classes"]:
        """Logits."""
        return ((features - self.mean) / self.scale) @ self.weight.T + self.bias


def probe(
    features: Float[Tensor, "images features"],
    labels: Int[Tensor, " images"],
    folds: int,
    seed: int,
    strengths: Sequence[float] = STRENGTHS,
) -> Probe:
    """Judge every image by a classifier that was fitted to the other folds.

    Source: Alain and Bengio 2016, "Understanding intermediate layers using linear classifier probes",
    and Kornblith et al. 2019, "Do Better ImageNet Models Transfer Better?", section 3: multinomial
    logistic regression with an L2 penalty. The penalty with the best cross-validated likelihood is
    taken, the same for all folds; of four, that flatters little.

    Args:
        features: what the network's last layer receives.
        labels: of two classes or more.
        folds: parts of the images, each class spread over all of them.
        seed: of the draw of the folds.
        strengths: weight decays to choose from, of features of unit variance.
    """
    values, classes = features.double(), int(labels.max()) + 1
    fold = folds_of(labels, folds, seed)
    outputs = {strength: torch.zeros(len(labels), classes, dtype=torch.float64) for strength in strengths}
    for one in range(folds):
        fitted_to, judged = fold != one, fold == one
        if not bool(judged.any()) or not bool(fitted_to.any()):
            continue
        for strength, linear in fit(values[fitted_to], labels[fitted_to], classes, strengths).items():
            outputs[strength][judged] = linear(values[judged])
    likely = {s: -F.cross_entropy(logits, labels, reduction="none") for s, logits in outputs.items()}
    best = max(likely, key=lambda s: float(likely[s].mean()))
    return Probe(outputs[best].argmax(1) == labels, likely[best], best)


def folds_of(labels: Int[Tensor, " images"], folds: int, seed: int) -> Int[Tensor, " images"]:
    """The fold of each image: each class in nearly equal parts."""
    rng = np.random.default_rng(seed)
    found = np.zeros(len(labels), dtype=np.int64)
    first = 0
    for label in np.unique(labels.numpy()):
        members = rng.permutation(np.flatnonzero(labels.numpy() == label))
        found[members] = (first + np.arange(len(members))) % folds
        first += len(members)
    return torch.from_numpy(found)


def fit(
    features: Float[Tensor, "images features"],
    labels: Int[Tensor, " images"],
    classes: int,
    strengths: Sequence[float],
) -> dict[float, Linear]:
    """The classifier of each weight decay: L-BFGS from the one before it, the first from zero; deterministic.

    Args:
        features: float64.
        labels: of them.
        classes: how many logits.
        strengths: weight decays, strongest first.
    """
    mean, scale = features.mean(0), features.std(0, correction=0)
    scale = torch.where(scale > 1e-9 * scale.max().clamp(min=1e-30), scale, torch.inf)  # what never varies says nothing
    standard = (features - mean) / scale
    turn = None
    if features.shape[1] > len(features):  # with a penalty, weights lie in the span of the images
        left, singular, turn = torch.linalg.svd(standard, full_matrices=False)
        standard = left * singular
    weight = torch.zeros(classes, standard.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    found = {}
    for strength in strengths:
        _descend(weight, standard, labels, strength)
        inner = weight.detach()[:, :-1]
        found[strength] = Linear(
            mean, scale, inner @ turn if turn is not None else inner.clone(), weight.detach()[:, -1].clone()
        )
    return found


def _descend(weight: Tensor, standard: Tensor, labels: Tensor, strength: float) -> None:
    """Minimise mean cross-entropy plus half the strength times the squared weights; the last column is the bias."""
    optimizer = torch.optim.LBFGS(
        [weight], max_iter=_STEPS, tolerance_grad=1e-6, tolerance_change=1e-10, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = standard @ weight[:, :-1].T + weight[:, -1]
        loss = F.cross_entropy(logits, labels) + 0.5 * strength * weight[:, :-1].square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)


def wilson(right: int, count: int) -> tuple[float, float]:
    """95% interval of a share, from so many of so many; never outside [0, 1], and not a point where all are right.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    share, square = right / count, _Z95**2
    centre = (share + square / (2 * count)) / (1 + square / count)
    half = _Z95 / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    return 0.0 if right == 0 else centre - half, 1.0 if right == count else centre + half
