"""Confidence intervals: of a share of images, and of the difference between two networks that were measured."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Int
from torch import Tensor

from seam.errors import DataError, SuspectResultWarning

Measure = Literal["accuracy", "robust_accuracy", "defect_inheritance_rate"]
_CHUNK = 4_000_000
"""Counts held at once."""


@dataclass(frozen=True)
class Answers:
    """Which test images a student gets right, image by image."""

    clean: Bool[Tensor, " images"]
    attacked: Bool[Tensor, " images"]
    """The same images, attacked or with a trigger."""

    @classmethod
    def of(
        cls, clean_pred: Int[Tensor, " images"], attacked_pred: Int[Tensor, " images"], labels: Int[Tensor, " images"]
    ) -> Answers:
        """From predicted and true labels."""
        return cls((clean_pred == labels).cpu(), (attacked_pred == labels).cpu())


@dataclass(frozen=True)
class Interval:
    """A difference with its confidence interval; fractions."""

    difference: float
    """First student minus second, on the images as they are."""
    low: float
    high: float
    level: float
    """Confidence, in (0, 1)."""
    resamples: int = 0
    """0: by a formula."""


@dataclass(frozen=True)
class Share:
    """How many of so many images."""

    count: int
    total: int

    @classmethod
    def of(cls, rate: float, total: int) -> Share:
        """From a rate of whole images."""
        return cls(round(rate * total), total)

    @property
    def rate(self) -> float:
        """NaN of no images."""
        return self.count / self.total if self.total else math.nan

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Where the rate of all such images lies; of no images anywhere in [0, 1].

        Source: E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference",
        JASA 22, 1927.
        """
        if not self.total:
            return 0.0, 1.0
        z = NormalDist().inv_cdf((1 + level) / 2)
        p, n = self.rate, self.total
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        middle, scale = p + z * z / (2 * n), 1 + z * z / n
        return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def shares_interval(first: Share, second: Share, level: float = 0.95) -> Interval:
    """The difference of two rates of which nothing but the counts is known, not image by image.

    As for images that were drawn apart; where they are the same ones, and both networks fail on the
    same, it is wider than it had to be.

    Source: R. G. Newcombe, "Interval estimation for the difference between independent proportions",
    Statistics in Medicine 17, 1998, method 10.
    """
    p, q = first.rate, second.rate
    (p_low, p_high), (q_low, q_high) = first.interval(level), second.interval(level)
    if math.isnan(p) or math.isnan(q):
        return Interval(math.nan, -1.0, 1.0, level)
    low = p - q - math.hypot(p - p_low, q_high - q)
    high = p - q + math.hypot(p_high - p, q - q_low)
    return Interval(p - q, max(-1.0, low), min(1.0, high), level)


Students = Answers | Sequence[Answers]
"""Answers of one student, or of several that differ in their seed: then their mean is meant."""


def paired_interval(
    first: Students, second: Students, measure: Measure, seed: int, *, level: float = 0.95, resamples: int = 2000
) -> Interval | None:  # fmt: skip
    """Percentile bootstrap of the difference: images are drawn with replacement, the same for all students.

    It holds the students and the test set's kind of images fixed; what another seed of training
    would give is no part of it. The mean over students of several seeds is the mean of their rates
    on the same draw of images.

    Source: B. Efron, R. Tibshirani, "An Introduction to the Bootstrap", 1993, sections 10 and 13;
    SeaM and ReMoS give no intervals.

    Args:
        first: answers of one student, or of those of several seeds.
        second: of another, or others, to the same images in the same order.
        measure: what to compare.
        seed: of the draws.
        level: confidence.
        resamples: number of draws.

    Returns:
        The interval; None where the rate of one of them is undefined, as it gets no clean image
        right.

    Raises:
        DataError: the answers are not to the same number of images, or to none.

    Warns:
        SuspectResultWarning: the rate of one of them is undefined, on the images or in more than
            one draw in a hundred.
    """
    firsts, seconds = ([students] if isinstance(students, Answers) else list(students) for students in (first, second))
    sizes = {len(t) for answers in (*firsts, *seconds) for t in (answers.clean, answers.attacked)}
    if len(sizes) != 1 or 0 in sizes:
        raise DataError(
            f"paired interval: expected answers to the same images, at least one, got {sorted(sizes)} images; compare"
            " students of one test set."
        )
    events = np.concatenate([_events(answers) for answers in (*firsts, *seconds)], axis=1)
    whole = _difference(events.mean(0, keepdims=True), measure, len(firsts))[0]
    drawn = _difference(_resampled(events, seed, resamples), measure, len(firsts))
    defined = drawn[~np.isnan(drawn)]
    if np.isnan(whole) or len(defined) < 0.99 * resamples:
        text = (
            f"a rate is undefined in {resamples - len(defined)} of {resamples} draws of these images, as too few are"
            " classified correctly when clean"
        )
        warnings.warn(f"paired interval: {text}; no interval is given.", SuspectResultWarning, stacklevel=2)
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(whole), float(low), float(high), level, resamples)


def inheritance_above_floor(
    student: Students, from_scratch: Students, seed: int, *, level: float = 0.95, resamples: int = 2000
) -> Interval | None:
    """Defect inheritance rate in excess of the floor.

    Of a student, minus that of a model trained from scratch on the same data.

    A model that inherited nothing loses some of its answers under the attack, too; only what is
    above that is inheritance.

    Args:
        student: answers of the student, or of those of several seeds.
        from_scratch: of the model, or models, trained from scratch, to the same images.
        seed: as in `paired_interval`, with its result and errors.
        level: likewise.
        resamples: likewise.
    """
    return paired_interval(student, from_scratch, "defect_inheritance_rate", seed, level=level, resamples=resamples)


def _events(answers: Answers) -> npt.NDArray[np.float64]:
    """One row an image: right when clean; right when attacked; right when clean and wrong when attacked."""
    clean, attacked = answers.clean.cpu().numpy(), answers.attacked.cpu().numpy()
    events: npt.NDArray[np.float64] = np.stack([clean, attacked, clean & ~attacked], axis=1).astype(np.float64)
    return events


def _resampled(events: npt.NDArray[np.float64], seed: int, resamples: int) -> npt.NDArray[np.float64]:
    """Means of the events in every draw; a draw is how often each image is in it."""
    rng = np.random.default_rng(seed)
    images = len(events)
    even = np.full(images, 1 / images)
    at_once = max(1, _CHUNK // images)
    sizes = [min(at_once, resamples - begin) for begin in range(0, resamples, at_once)]
    return np.concatenate([rng.multinomial(images, even, size) @ events / images for size in sizes])


def _difference(shares: npt.NDArray[np.float64], measure: Measure, firsts: int) -> npt.NDArray[np.float64]:
    """Mean of the first students minus mean of the others in every draw; NaN where undefined.

    Of means of `_events` of all, (draws, 3 * students).
    """
    with np.errstate(invalid="ignore"):
        found = _measured(shares.reshape(len(shares), -1, 3), measure)
    difference: npt.NDArray[np.float64] = found[:, :firsts].mean(1) - found[:, firsts:].mean(1)
    return difference


def _measured(shares: npt.NDArray[np.float64], measure: Measure) -> npt.NDArray[np.float64]:
    """Every student's measure in every draw, of the means of its `_events` (draws, students, 3)."""
    right, robust, lost = shares[..., 0], shares[..., 1], shares[..., 2]
    if measure == "defect_inheritance_rate":
        return np.divide(lost, right)
    return right if measure == "accuracy" else robust
