"""LEEP and NLEEP: how probable the labels are, knowing of an image only which source classes it looks like."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from seam.measures.transferability.mixture import memberships

_ENERGY = 0.8
"""Share of the features' variance that NLEEP keeps."""
_PER_CLASS = 5
"""Clusters of NLEEP for each class."""
_FEWEST = 4
"""Images a cluster, on average, at least."""


def leep(
    probabilities: Float[Tensor, "images source_classes"], labels: Int[Tensor, " images"]
) -> Float[Tensor, " images"]:
    """Logarithm of the probability of each image's label; their mean is LEEP, at most 0, and higher is better.

    Source: Nguyen et al. 2020, "LEEP: A New Measure to Evaluate Transferability of Learned
    Representations", equations 1 and 2, *same*.

    Args:
        probabilities: of the source's classes, each row of sum 1.
        labels: of the images.
    """
    seen, groups = probabilities.double(), F.one_hot(labels).double()
    joint = groups.T @ seen / len(labels)
    label_of = joint / joint.sum(0).clamp(min=torch.finfo(torch.float64).tiny)
    expected = (seen @ label_of.T).gather(1, labels[:, None])[:, 0]
    return expected.clamp(min=torch.finfo(torch.float64).tiny).log()


def nleep(
    features: Float[Tensor, "images features"], labels: Int[Tensor, " images"], seed: int
) -> Float[Tensor, " images"]:
    """LEEP with clusters of the features in place of the source's classes.

    Source: Li et al. 2021, "Ranking Neural Checkpoints", section 3.3: principal components that hold
    80% of the variance, and a Gaussian mixture of 5 components a class; *differs*: diagonal
    covariances, as a thousand images do not tell full ones, and at least 4 images a component.

    Args:
        features: what the network's last layer receives.
        labels: of the images.
        seed: of the clusters' first centres.
    """
    values = features.double()
    values = values - values.mean(0)
    left, singular, _ = torch.linalg.svd(values, full_matrices=False)
    energy = singular.square().cumsum(0) / singular.square().sum().clamp(min=torch.finfo(torch.float64).tiny)
    kept = int((energy < _ENERGY).sum()) + 1
    components = (left * singular)[:, :kept] / singular[0].clamp(min=torch.finfo(torch.float64).tiny)
    clusters = max(1, min(_PER_CLASS * len(labels.unique()), len(labels) // _FEWEST))
    found = memberships(components.numpy() * np.sqrt(len(labels)), clusters, seed)
    return leep(torch.from_numpy(found), labels)
