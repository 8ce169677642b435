"""Paired bootstrap intervals, against draws written out by hand and against every possible draw."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
import torch

from seam.errors import DataError, SuspectResultWarning
from seam.measures.intervals import Answers, inheritance_above_floor, paired_interval


def answers(clean: str, attacked: str) -> Answers:
    """Of "1" (right) and "0" (wrong), an image a character."""
    return Answers(*(torch.tensor([c == "1" for c in text], dtype=torch.bool) for text in (clean, attacked)))


FIRST = answers("1110110111", "1000100001")
SECOND = answers("1101111011", "1101101010")


def measured(given: Answers, images: list[int], measure: str) -> float:
    clean = [bool(given.clean[i]) for i in images]
    attacked = [bool(given.attacked[i]) for i in images]
    if measure == "accuracy":
        return sum(clean) / len(images)
    if measure == "robust_accuracy":
        return sum(attacked) / len(images)
    return sum(c and not a for c, a in zip(clean, attacked, strict=True)) / sum(clean)


@pytest.mark.parametrize("measure", ["accuracy", "robust_accuracy", "defect_inheritance_rate"])
def test_the_interval_is_that_of_the_same_draws_in_loops(measure: str) -> None:
    got = paired_interval(FIRST, SECOND, measure, seed=5, level=0.9, resamples=300)
    draws = np.random.default_rng(5).multinomial(10, [0.1] * 10, size=300)
    differences = []
    for counts in draws:
        images = [i for i, times in enumerate(counts) for _ in range(times)]
        differences.append(measured(FIRST, images, measure) - measured(SECOND, images, measure))
    everything = list(range(10))
    assert got.difference == pytest.approx(measured(FIRST, everything, measure) - measured(SECOND, everything, measure))
    assert (got.low, got.high) == (
        pytest.approx(np.quantile(differences, 0.05)),
        pytest.approx(np.quantile(differences, 0.95)),
    )
    assert (got.level, got.resamples) == (0.9, 300)
    assert got.low < got.difference < got.high


def test_the_interval_is_that_of_all_possible_draws() -> None:
    first, second = answers("11111", "10010"), answers("11110", "11100")
    every = [
        measured(first, list(d), "accuracy") - measured(second, list(d), "accuracy")
        for d in itertools.product(range(5), repeat=5)
    ]
    got = paired_interval(first, second, "accuracy", seed=0, level=0.8, resamples=4000)
    assert (got.low, got.high) == pytest.approx((np.quantile(every, 0.1), np.quantile(every, 0.9)))
    every = [measured(first, list(d), "defect_inheritance_rate") for d in itertools.product(range(5), repeat=5)]
    got = paired_interval(
        first, answers("11111", "11111"), "defect_inheritance_rate", seed=0, level=0.8, resamples=4000
    )
    assert (got.low, got.high) == pytest.approx((np.quantile(every, 0.1), np.quantile(every, 0.9)))


def test_pairing_narrows_what_independent_draws_would_give() -> None:
    """Two students that fail on the same images differ by nothing, whatever the draw."""
    got = paired_interval(FIRST, FIRST, "defect_inheritance_rate", seed=0)
    assert (got.difference, got.low, got.high) == (0, 0, 0)


def test_the_interval_covers_a_known_difference() -> None:
    """Students that are right with chances 0.9 and 0.7 and lose 60% and 10% of that.

    19 of 20 intervals hold the truth.
    """
    rng = np.random.default_rng(0)
    held = {"accuracy": 0, "defect_inheritance_rate": 0}
    for trial in range(100):
        made = {}
        for name, right, lost in (("first", 0.9, 0.6), ("second", 0.7, 0.1)):
            clean = rng.random(400) < right
            made[name] = Answers(torch.tensor(clean), torch.tensor(clean & (rng.random(400) >= lost)))
        for measure, truth in {"accuracy": 0.2, "defect_inheritance_rate": 0.5}.items():
            got = paired_interval(made["first"], made["second"], measure, seed=trial, resamples=200)
            held[measure] += got.low <= truth <= got.high
    assert all(88 <= times <= 100 for times in held.values())


def test_seeded_and_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    first, again, other = (
        paired_interval(FIRST, SECOND, "accuracy", seed=s, level=0.9, resamples=50) for s in (1, 1, 2)
    )
    assert first == again
    assert (first.low, first.high) != (other.low, other.high) or first.difference == other.difference
    monkeypatch.setattr("seam.measures.intervals._CHUNK", 70)  # 7 draws at once
    assert paired_interval(FIRST, SECOND, "accuracy", seed=1, level=0.9, resamples=50) == first


def test_inheritance_above_the_floor() -> None:
    student, floor = answers("11111", "00011"), answers("11110", "11100")
    got = inheritance_above_floor(student, floor, seed=0)
    assert got.difference == pytest.approx(3 / 5 - 1 / 4)
    assert got == paired_interval(student, floor, "defect_inheritance_rate", seed=0)


def test_answers_from_predictions() -> None:
    labels = torch.tensor([0, 1, 2])
    got = Answers.of(torch.tensor([0, 1, 0]), torch.tensor([1, 1, 2]), labels)
    assert got.clean.tolist() == [True, True, False]
    assert got.attacked.tolist() == [False, True, True]


def test_a_rate_that_is_undefined_gives_no_interval_and_says_so() -> None:
    none_right = answers("0000", "0000")
    with pytest.warns(SuspectResultWarning, match="no interval is given"):
        assert paired_interval(none_right, answers("1111", "1111"), "defect_inheritance_rate", seed=0) is None
    with pytest.warns(
        SuspectResultWarning, match="in .* of 2000 draws"
    ):  # one image in four is right: a third of the draws lack it
        assert (
            paired_interval(answers("1000", "0000"), answers("1111", "1111"), "defect_inheritance_rate", seed=0) is None
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert paired_interval(none_right, answers("1111", "1111"), "accuracy", seed=0).difference == -1


def test_answers_to_other_images_are_one_clear_line() -> None:
    with pytest.raises(DataError, match=r"got \[4, 5\] images"):
        paired_interval(answers("1111", "1111"), answers("11111", "11111"), "accuracy", seed=0)
    with pytest.raises(DataError, match="at least one"):
        paired_interval(answers("", ""), answers("", ""), "accuracy", seed=0)


def test_several_seeds_are_compared_by_the_means_of_their_rates_on_the_same_draws() -> None:
    third = answers("1111100111", "0101100010")
    got = paired_interval([FIRST, third], [SECOND], "defect_inheritance_rate", seed=5, level=0.9, resamples=300)
    differences = []
    for counts in np.random.default_rng(5).multinomial(10, [0.1] * 10, size=300):
        images = [i for i, times in enumerate(counts) for _ in range(times)]
        first, second, other = (measured(given, images, "defect_inheritance_rate") for given in (FIRST, third, SECOND))
        differences.append((first + second) / 2 - other)
    assert (got.low, got.high) == pytest.approx(tuple(np.quantile(differences, [0.05, 0.95])))
    assert paired_interval([FIRST], [SECOND], "accuracy", seed=1) == paired_interval(FIRST, SECOND, "accuracy", seed=1)
