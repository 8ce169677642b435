"""An order of networks by an estimate, and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from torch import Tensor

_CHUNK = 4_000_000
"""Counts held at once."""


@dataclass(frozen=True)
class Ranking:
    """Networks by the mean of what each image adds."""

    order: tuple[int, ...]
    """Best first; of equal ones, the earlier first."""
    best: tuple[float, ...]
    """Of each network, in the order they were given: how likely it is the best of them."""
    ahead: tuple[float, ...]
    """Of each place but the last: how likely its network is ahead of the next one's."""

    @property
    def first_beats_second(self) -> float | None:
        """How likely the first is ahead of the second; None: there is no second."""
        return self.ahead[0] if self.ahead else None


def rank(by_image: Float[Tensor, "networks images"], resamples: int, seed: int) -> Ranking:
    """Order networks, and count in how many draws of the images, with replacement, the order stays.

    The draws are the same for all networks. It tells what other images of the same kind would say of
    the same estimate, not what the estimate is worth.

    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", sections 10 and 13; Agostinelli
    et al. 2022, "How stable are Transferability Metrics evaluations?", that it is needed.

    Args:
        by_image: what each image adds.
        resamples: number of draws.
        seed: of the draws.
    """
    values = by_image.double().numpy()
    means = values.mean(1)
    order = np.argsort(-means, kind="stable")
    drawn = _drawn(values, resamples, seed)
    top = drawn == drawn.max(1, keepdims=True)
    best = (top / top.sum(1, keepdims=True)).mean(0)
    first, second = drawn[:, order[:-1]], drawn[:, order[1:]]
    ahead = ((first > second) + 0.5 * (first == second)).mean(0)
    return Ranking(tuple(order.tolist()), tuple(best.tolist()), tuple(ahead.tolist()))


def _drawn(values: npt.NDArray[np.float64], resamples: int, seed: int) -> npt.NDArray[np.float64]:
    """Mean of each network in each draw; shape (draws, networks)."""
    rng, images = np.random.default_rng(seed), values.shape[1]
    at_once = max(1, _CHUNK // images)
    sizes = [min(at_once, resamples - begin) for begin in range(0, resamples, at_once)]
    even = np.full(images, 1 / images)
    parts = [rng.multinomial(images, even, size) @ values.T / images for size in sizes]
    found: npt.NDArray[np.float64] = np.round(np.concatenate(parts), 12)  # equal networks stay equal
    return found
