"""A mixture of Gaussians with diagonal covariances, fitted by expectation maximisation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

Array = npt.NDArray[np.float64]
_FLOOR = 1e-6
"""Added to every variance, of values whose largest variance is about 1."""
_ROUNDS = 100
_SETTLED = 1e-3
"""Gain of the mean log-likelihood at which the fit ends."""


@dataclass(frozen=True)
class Mixture:
    """Gaussians, and the share of each."""

    shares: Array
    """Shape (components,), of sum 1."""
    means: Array
    """Shape (components, features)."""
    variances: Array
    """Shape (components, features)."""

    def log_joint(self, values: Array) -> Array:
        """Logarithm of share times density of each component at each row; shape (rows, components)."""
        scaled = 1 / self.variances
        squares = values**2 @ scaled.T - 2 * values @ (self.means * scaled).T + (self.means**2 * scaled).sum(1)
        norms = np.log(2 * np.pi * self.variances).sum(1)
        found: Array = np.log(self.shares) - 0.5 * (squares + norms)
        return found


def memberships(values: Array, components: int, seed: int) -> Array:
    """Probability of each component given each row, shape (rows, components).

    Args:
        values: shape (rows, features), of about unit variance at most.
        components: at most as many as there are rows.
        seed: of the first centres, which are drawn as k-means++ does.
    """
    mixture = fitted(values, _hard(values, _centres(values, components, seed)))
    joint = mixture.log_joint(values)
    found: Array = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    return found


def fitted(values: Array, belongs: Array) -> Mixture:
    """The mixture that expectation maximisation arrives at.

    Args:
        values: shape (rows, features).
        belongs: shape (rows, components): to which it holds each row to belong at first, each of sum 1.
    """
    before = -np.inf
    mixture = _maximised(values, belongs)
    for _ in range(_ROUNDS):
        joint = mixture.log_joint(values)
        total = logsumexp(joint, axis=1)
        likelihood = float(total.mean())
        if likelihood - before < _SETTLED:
            break
        before = likelihood
        mixture = _maximised(values, np.exp(joint - total[:, None]))
    return mixture


def _maximised(values: Array, belongs: Array) -> Mixture:
    sizes = belongs.sum(0) + 10 * np.finfo(np.float64).eps
    means = belongs.T @ values / sizes[:, None]
    variances = np.maximum(belongs.T @ values**2 / sizes[:, None] - means**2, 0) + _FLOOR
    return Mixture(sizes / sizes.sum(), means, variances)


def _centres(values: Array, count: int, seed: int) -> Array:
    """Rows far from each other: each is drawn by its squared distance to the nearest one before (k-means++)."""
    rng = np.random.default_rng(seed)
    chosen = [int(rng.integers(len(values)))]
    nearest = np.full(len(values), np.inf)
    while len(chosen) < count:
        nearest = np.minimum(nearest, ((values - values[chosen[-1]]) ** 2).sum(1))
        total = nearest.sum()
        weights = nearest / total if total > 0 else None
        chosen.append(int(rng.choice(len(values), p=weights)))
    return values[chosen]


def _hard(values: Array, centres: Array, rounds: int = 10) -> Array:
    """Each row to its nearest centre, after some rounds of k-means."""
    for _ in range(rounds):
        distances = (centres**2).sum(1) - 2 * values @ centres.T
        belongs: Array = np.eye(len(centres))[distances.argmin(1)]
        sizes = belongs.sum(0)
        moved = belongs.T @ values / np.maximum(sizes, 1)[:, None]
        centres = np.where(sizes[:, None] > 0, moved, centres)
    return belongs
