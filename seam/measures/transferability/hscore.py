"""H-score: how far apart the classes' mean features are, beside how the features scatter; with a shrunk covariance."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


def hscore(features: Float[Tensor, "images features"], labels: Int[Tensor, " images"]) -> float:
    """Trace of (shrunk covariance of the features)^-1 (1 - s) (covariance of their class means); higher is better.

    Source: Bao et al. 2019, "An Information-Theoretic Approach to Transferability in Task Transfer
    Learning"; regularised by Ibrahim et al. 2021, "Newer is not always better: Rethinking
    transferability metrics", section 3, *same*: s is the shrinkage of Ledoit and Wolf 2004. Computed
    in the features' own eigenbasis, so no matrix is inverted.

    Args:
        features: what the network's last layer receives.
        labels: of two classes or more.
    """
    values, count = features.double(), len(labels)
    values = values - values.mean(0)
    left, singular, _ = torch.linalg.svd(values, full_matrices=False)
    scores = left * singular  # the same features, turned so that their covariance is diagonal
    variances = singular.square() / count
    shrinkage = ledoit_wolf(values)
    groups = F.one_hot(labels).double()
    sizes = groups.sum(0).clamp(min=1)
    means = (groups.T @ scores) / sizes[:, None]
    between = (sizes[:, None] * means.square()).sum(0) / count
    shrunk = (1 - shrinkage) * variances + shrinkage * variances.sum() / values.shape[1]
    there = shrunk > 0
    return float((1 - shrinkage) * (between[there] / shrunk[there]).sum())


def ledoit_wolf(centred: Float[Tensor, "images features"]) -> float:
    """How much of the covariance to replace by a multiple of the identity, in [0, 1], so that it errs least.

    Source: Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance
    matrices", lemmas 3.2 to 3.4, *same*.

    Args:
        centred: features of mean 0.
    """
    count, width = centred.shape
    products = centred @ centred.T if count < width else centred.T @ centred
    squared = float(products.square().sum()) / count**2  # squared norm of the covariance
    mean = float(centred.square().sum()) / count / width
    distance = squared / width - mean**2
    spread = (float(centred.square().sum(1).square().sum()) / count - squared) / (count * width)
    return 0.0 if distance <= 0 else min(max(spread, 0.0), distance) / distance
