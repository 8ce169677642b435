"""A version against the champion: what it may lose, in what it has to be better, on evidence alone."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from seam.measures.intervals import Share, shares_interval
from tasks.tracking.contest import STANDING, Standing, against_champion
from tasks.tracking.gates import judge, judge_network, judge_student
from tasks.tracking.policy import RegistryPolicy

POLICY = RegistryPolicy.model_validate({"gates": {"fewer_weights": {}}})
OURS = "reengineered_finetuned"


def standing(accuracy: float, inherited: float = 0.1, images: int = 1000, **known: Any) -> Standing:
    entry = {"accuracy": accuracy, "defect_inheritance_rate": inherited, "params_nonzero": 1000}
    return replace(Standing.of(entry, images, "test", attack="attack"), **known)


def takes(ours: Standing, theirs: Standing) -> bool:
    return all(verdict.passed for verdict in against_champion(POLICY, ours, theirs, "version 1"))


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_interval_of_a_share_as_published(count: int, total: int, low: float, high: float) -> None:
    """Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3."""
    assert Share(count, total).interval() == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0),
    ],
)
def test_interval_of_a_difference_as_published(
    first: tuple[int, int], second: tuple[int, int], low: float, high: float
) -> None:
    """Newcombe 1998, "Interval estimation for the difference", table II, method 10."""
    found = shares_interval(Share(*first), Share(*second))
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_of_no_images_nothing_is_known() -> None:
    assert Share(0, 0).interval() == (0.0, 1.0)
    found = shares_interval(Share(0, 0), Share(5, 5))
    assert (found.low, found.high) == (-1.0, 1.0)


def test_more_accurate_beyond_the_noise_takes_the_alias_and_within_it_does_not() -> None:
    assert takes(standing(0.95), standing(0.90))
    assert not takes(standing(0.91), standing(0.90)), "1 point on 1,000 images is noise"
    assert not takes(standing(0.95, images=40), standing(0.85, images=40)), "a handful of images"
    assert not takes(standing(0.90), standing(0.90)), "the same"


def test_what_is_better_in_one_figure_may_not_be_worse_in_another() -> None:
    """The case of the issue: accuracy .946 and DIR .60 against .99 and .05."""
    assert not takes(standing(0.946, 0.60), standing(0.99, 0.05))
    assert not takes(standing(0.99, 0.60), standing(0.94, 0.05)), "more accurate, and more defects"
    assert not takes(standing(0.94, 0.05), standing(0.99, 0.60)), "fewer defects, and less accurate"
    assert takes(standing(0.99, 0.05), standing(0.99, 0.60)), "as accurate, and fewer defects"
    few = standing(0.95, weights=500)
    assert takes(few, standing(0.95)) and not takes(replace(few, weights=950), standing(0.95))
    assert not takes(standing(0.99, weights=1200), standing(0.90)), "too many weights"


def test_times_count_on_the_same_machine_alone() -> None:
    champion = standing(0.90, milliseconds=1.0, timed="here")
    better = standing(0.95, milliseconds=2.0, timed="here")
    assert not takes(better, champion)
    assert takes(replace(better, timed="elsewhere"), champion) and takes(replace(better, milliseconds=None), champion)
    assert takes(replace(better, milliseconds=1.19), champion)
    assert not takes(standing(0.90, milliseconds=0.1, timed="here"), champion), "no one is promoted by a stop watch"


def test_other_images_or_another_attack_tell_nothing() -> None:
    for other in ({"test": "others"}, {"attack": "another"}):
        verdicts = against_champion(POLICY, standing(0.99, **other), standing(0.50), "version 1")
        assert not all(v.passed for v in verdicts) and "seam promote" in " ".join(v.text for v in verdicts)


def test_no_two_versions_beat_each_other() -> None:
    values = itertools.product((0.90, 0.93, 0.97), (0.01, 0.05, 0.3), (500, 800, 1000))
    known = [standing(a, d, weights=w) for a, d, w in values]
    pairs = list(itertools.combinations(known, 2))
    assert not [pair for pair in pairs if takes(*pair) and takes(*pair[::-1])]
    assert sum(takes(*pair) or takes(*pair[::-1]) for pair in pairs) > 50


def test_a_standing_comes_back_from_its_tag() -> None:
    for known in (standing(0.95, milliseconds=1.5, timed="here"), Standing("test", Share(3, 4))):
        assert Standing.from_tags({STANDING: known.as_tag()}) == known
    for broken in ({}, {STANDING: "{"}, {STANDING: "{}"}, {STANDING: '{"right": [1]}'}):
        assert Standing.from_tags(broken) is None


def evaluated(ours: float, theirs: float, images: int) -> dict[str, Any]:
    entries = {OURS: (ours, 40), "source": (theirs, 100)}
    return {n: {"accuracy": a, "params_nonzero": w, "num_images": images} for n, (a, w) in entries.items()}


@pytest.mark.parametrize(("images", "passed"), [(4, False), (40, False), (118, True), (2000, True)])
def test_a_handful_of_images_passes_nothing(images: int, passed: bool) -> None:
    """The digits have 118; all right by both."""
    policy = RegistryPolicy.model_validate({"gates": {"accuracy_drop": {"at_most": 0.005}}})
    (verdict,) = judge(policy, OURS, evaluated(1.0, 1.0, images), {})
    assert verdict.passed is passed and verdict.interval is not None
    assert ("do not exclude a drop of 5" in verdict.text) is not passed
    made = {"accuracy": 1.0, "num_images": images}
    network = RegistryPolicy.model_validate({"gates": {}, "network_gates": {"accuracy_drop": {"at_most": 0.005}}})
    assert [v.passed for v in judge_network(network, made, made, "source", images)] == [passed]


@pytest.mark.parametrize(("accuracy", "passed"), [(0.5, False), (0.55, False), (0.65, True)])
def test_a_model_at_chance_passes_nothing(accuracy: float, passed: bool) -> None:
    verdict, *_ = judge(POLICY, OURS, evaluated(accuracy, accuracy, 118), {}, chance=0.5)
    assert (verdict.gate, verdict.passed) == ("above_chance", passed)
    assert "of always guessing the commonest class" in verdict.text
    off = POLICY.model_copy(update={"evidence": POLICY.evidence.model_copy(update={"above_chance": False})})
    assert [v.gate for v in judge(off, OURS, evaluated(0.5, 0.5, 118), {}, chance=0.5)] == ["fewer_weights"]


@pytest.mark.parametrize(("inherited", "passed"), [(0.0, True), (1 / 118, True), (6 / 118, False)])
def test_inherited_defects_of_a_few_images(inherited: float, passed: bool) -> None:
    gates = {"defect_inheritance_increase": {"at_most": 1, "within": 0.05}}
    policy = RegistryPolicy.model_validate({"gates": gates})
    rates = {OURS: {"defect_inheritance_rate": inherited}, "standard_finetuned": {"defect_inheritance_rate": 3 / 118}}
    (verdict,) = judge(policy, OURS, evaluated(1.0, 1.0, 118), rates)
    assert verdict.passed is passed


def test_half_of_the_defects_has_to_be_told_apart_from_all() -> None:
    gates = {"defect_inheritance_share": {"at_most": 0.5}}
    policy = RegistryPolicy.model_validate({"gates": {}, "transfer_gates": gates})

    def passed(ours: float, theirs: float, images: int) -> bool:
        student = {"accuracy": 1.0, "defect_inheritance_rate": ours, "num_images": images}
        (verdict,) = judge_student(policy, student, {"standard": {**student, "defect_inheritance_rate": theirs}})
        return verdict.passed

    assert passed(0.1, 0.3, 1000) and not passed(0.1, 0.3, 20)
    assert passed(0.0, 0.0, 1000) and not passed(0.0, 0.0, 20)
