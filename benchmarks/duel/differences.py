"""Accuracy as the mean over classes, and differences of it on the same images, with their intervals.

A binary problem's test set has all negatives there are, nine times as many as positives; every class
counts the same. Intervals are normal ones of stratified means, with the classes as strata: unlike a
bootstrap they add up over problems.
"""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
_Z = 1.959964  # of 95%


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95% interval; fractions."""

    value: float
    half: float
    """Half of the interval's width."""

    @property
    def low(self) -> float:
        """Its lower end."""
        return self.value - self.half

    @property
    def high(self) -> float:
        """Its upper end."""
        return self.value + self.half


def packed(right: npt.NDArray[np.bool_]) -> str:
    """Which images are answered correctly, as short text."""
    return base64.b64encode(zlib.compress(np.packbits(right).tobytes(), 9)).decode()


def unpacked(text: str, number: int) -> npt.NDArray[np.bool_]:
    """What `packed` was given."""
    bits = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    return np.unpackbits(bits)[:number].astype(bool)


def class_mean(values: Values, counts: Sequence[int]) -> Estimate:
    """Mean over classes of the mean over each one's images.

    Args:
        values: one an image, sorted by class.
        counts: images of each class.
    """
    parts = np.split(values, np.cumsum(counts)[:-1])
    variance = sum(p.var(ddof=1) / len(p) if len(p) > 1 else 0.0 for p in parts)
    return Estimate(float(np.mean([p.mean() for p in parts])), _Z * math.sqrt(variance) / len(parts))


def difference(
    first: Sequence[npt.NDArray[np.bool_]], second: Sequence[npt.NDArray[np.bool_]], counts: Sequence[int]
) -> Estimate:
    """Accuracy of the first minus that of the second, on the same images, each the mean over its seeds."""
    ours, theirs = (np.mean([a.astype(np.float64) for a in answers], axis=0) for answers in (first, second))
    return class_mean(ours - theirs, counts)


def mean_of(estimates: Sequence[Estimate]) -> Estimate:
    """Mean over problems, whose images have nothing to do with each other."""
    number = len(estimates)
    half = math.sqrt(sum(e.half**2 for e in estimates)) / number
    return Estimate(sum(e.value for e in estimates) / number, half)
