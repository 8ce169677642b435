"""Promotion gates: may this version carry the alias? The registry policy's, judged on the stages' results."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from seam.measures.intervals import Interval, Measure, Share, shares_interval
from tasks.tracking.policy import (
    AccuracyDrop,
    DefectInheritanceIncrease,
    DefectInheritanceShare,
    FewerWeights,
    NetworkAccuracyDrop,
    NetworkGates,
    RegistryPolicy,
    StudentAccuracyDrop,
    TransferGates,
)

ROUNDING = 1e-9
Paired = Mapping[tuple[str, Measure], Interval | None]
"""(reference, measure) -> the difference to it, of answers to the same images."""


@dataclass(frozen=True)
class Verdict:
    """What one gate said."""

    gate: str
    passed: bool
    text: str
    interval: tuple[float, float] | None = None
    """Of the difference that was judged, or of the accuracy; None: of what is counted exactly, or was not measured."""

    def as_dict(self) -> dict[str, Any]:
        """For the card."""
        found = asdict(self)
        return {**found, "interval": None if self.interval is None else list(self.interval)}

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> Verdict:
        """Of a card."""
        interval = said.get("interval")
        return cls(said["gate"], said["passed"], said["text"], None if interval is None else (interval[0], interval[1]))


def judge(
    policy: RegistryPolicy,
    model: str,
    evaluated: Mapping[str, Any],
    attacked: Mapping[str, Any],
    chance: float | None = None,
) -> list[Verdict]:
    """Apply every gate to the model that is registered.

    Args:
        policy: the gates.
        model: one of `REGISTRABLE`.
        evaluated: evaluate/metrics.json.
        attacked: evaluate_robustness/metrics.json.
        chance: accuracy of always guessing the commonest class; None: not asked about.
    """
    models = {**evaluated, **evaluated.get("baselines", {})}
    gates, level = policy.gates, policy.evidence.level
    verdicts = _above_chance(policy, models[model], chance)
    if gates.accuracy_drop:
        verdicts.append(_judge_accuracy(gates.accuracy_drop, models, model, gates.accuracy_drop.against, level))
    if gates.fewer_weights:
        verdicts.append(_judge_weights(gates.fewer_weights, models, model))
    if gates.defect_inheritance_increase:
        known = {name: {**models.get(name, {}), **rates} for name, rates in attacked.items()}
        images = int(models[model]["num_images"])
        verdicts.append(_judge_inheritance(gates.defect_inheritance_increase, known, model, images, level))
    return verdicts


def judge_student(
    policy: RegistryPolicy,
    student: Mapping[str, Any],
    references: Mapping[str, Mapping[str, Any]],
    paired: Paired | None = None,
    chance: float | None = None,
) -> list[Verdict]:
    """Apply every gate of transfers to the student that is registered.

    Args:
        policy: the gates.
        student: `accuracy`, `defect_inheritance_rate` and `num_images` of it.
        references: method -> the same, means over its students.
        paired: the differences, where answers image by image are there.
        chance: as in `judge`.

    Returns:
        The verdicts; a failed one where the policy has no gate for transfers, so that nothing is
        promoted unseen.
    """
    gates, models, level = policy.transfer_gates, {**references, "student": student}, policy.evidence.level
    verdicts = []
    if gates.accuracy_drop:
        against = gates.accuracy_drop.against
        known = (paired or {}).get((against, "accuracy"))
        verdicts.append(_judge_accuracy(gates.accuracy_drop, models, "student", against, level, known))
    if gates.defect_inheritance_share:
        known = (paired or {}).get((gates.defect_inheritance_share.against, "defect_inheritance_rate"))
        verdicts.append(_judge_share(gates.defect_inheritance_share, models, "student", level, known))
    if not verdicts:
        text = f"the registry policy has no gate for transfers; known: {', '.join(TransferGates.model_fields)}"
        return [Verdict("transfer_gates", False, text)]
    return [*_above_chance(policy, student, chance), *verdicts]


def judge_network(
    policy: RegistryPolicy,
    made: Mapping[str, Any],
    before: Mapping[str, Any],
    against: str,
    num_images: int,
    chance: float | None = None,
) -> list[Verdict]:
    """Apply every gate to a network that is made of others.

    Args:
        policy: the gates.
        made: `accuracy` of it, on test.
        before: the same of what it is made of.
        against: what that is, in words.
        num_images: of test.
        chance: as in `judge`.

    Returns:
        The verdicts; a failed one where the policy has no gate for such networks, so that nothing is
        promoted unseen.
    """
    gate = policy.network_gates.accuracy_drop
    if gate is None:
        known = ", ".join(NetworkGates.model_fields)
        text = f"the registry policy has no gate for networks that are made of others; known: {known}"
        return [Verdict("network_gates", False, text)]
    models = {"made": {**made, "num_images": num_images}, against: before}
    verdict = _judge_accuracy(gate, models, "made", against, policy.evidence.level)
    return [*_above_chance(policy, models["made"], chance), verdict]


def shown_points(interval: tuple[float, float]) -> str:
    """[-3.2, +0.4]: an interval of differences, in points."""
    return f"[{100 * interval[0]:+.1f}, {100 * interval[1]:+.1f}]"


def right_of(entry: Mapping[str, Any], images: int) -> Share:
    """How many of the test images a model gets right."""
    return Share.of(float(entry["accuracy"]), images)


def lost_of(entry: Mapping[str, Any], images: int) -> Share | None:
    """How many of those that it gets right it loses under attack; None where that is not known or not defined."""
    rate = entry.get("defect_inheritance_rate")
    return None if rate is None else Share.of(float(rate), round(float(entry.get("accuracy", 1.0)) * images))


def _above_chance(policy: RegistryPolicy, entry: Mapping[str, Any], chance: float | None) -> list[Verdict]:
    """One verdict, where it is asked for."""
    if chance is None or not policy.evidence.above_chance:
        return []
    level, right = policy.evidence.level, right_of(entry, int(entry["num_images"]))
    low, high = right.interval(level)
    text = (
        f"accuracy {right.rate:.2%} on {right.total} test images, {level:.0%} interval [{100 * low:.1f},"
        f" {100 * high:.1f}]%; above {chance:.2%}, of always guessing the commonest class, is asked for"
    )
    return [Verdict("above_chance", low > chance, text, (low, high))]


def _judge_accuracy(
    gate: AccuracyDrop | StudentAccuracyDrop | NetworkAccuracyDrop,
    models: Mapping[str, Any],
    model: str,
    against: str,
    level: float,
    paired: Interval | None = None,
) -> Verdict:
    ours, theirs = _value(models, model, "accuracy"), _value(models, against, "accuracy")
    if ours is None or theirs is None:
        return _not_measured("accuracy_drop", "accuracy")
    images = int(models[model]["num_images"])
    gap = round((theirs - ours) * images)
    gap_text = (
        "the same number of images right"
        if gap == 0
        else f"{abs(gap)} {'image' if abs(gap) == 1 else 'images'} {'fewer' if gap > 0 else 'more'} right"
    )
    or_images = f" or of {gate.or_images} {'image' if gate.or_images == 1 else 'images'}" if gate.or_images else ""
    allowed = f"a drop of {100 * gate.at_most:g} points ({gate.at_most * images:.1f} images){or_images} is allowed"
    found = paired or shares_interval(Share.of(ours, images), Share.of(theirs, images), level)
    told = found.low >= -gate.within - ROUNDING
    text = (
        f"accuracy {ours:.2%} against {theirs:.2%} of {against} on {images} test images: {gap_text}; {allowed};"
        f" {_excluded(found, gate.within, told, 'drop', images)}"
    )
    near = theirs - ours <= gate.at_most + ROUNDING or 0 < gap <= gate.or_images
    return Verdict("accuracy_drop", near and told, text, (found.low, found.high))


def _excluded(found: Interval, within: float, told: bool, worse: str, images: int) -> str:
    """What the interval of a difference says of one that is as much as `within` for the worse."""
    interval = f"the difference is in {shown_points((found.low, found.high))} points at {found.level:.0%}"
    asked = f"a {worse} of {100 * within:g}"
    return f"{interval}, {asked} is excluded" if told else f"{interval}: {images} images do not exclude {asked}"


def _judge_weights(gate: FewerWeights, models: Mapping[str, Any], model: str) -> Verdict:
    ours, theirs = _value(models, model, "params_nonzero"), _value(models, gate.against, "params_nonzero")
    if ours is None or theirs is None:
        return _not_measured("fewer_weights", "params_nonzero")
    share = ours / theirs
    text = (
        f"{int(ours):,} non-zero weights against {int(theirs):,} of {gate.against} ({share:.1%}); at most"
        f" {gate.at_most:.0%}, and fewer, is allowed"
    )
    return Verdict("fewer_weights", ours < theirs and share <= gate.at_most + ROUNDING, text)


def _judge_inheritance(
    gate: DefectInheritanceIncrease, models: Mapping[str, Any], model: str, images: int, level: float
) -> Verdict:
    ours, theirs = (lost_of(models.get(name, {}), images) for name in (model, gate.against))
    if ours is None or theirs is None:
        return _not_measured("defect_inheritance_increase", "defect_inheritance_rate")
    rate, reference = (float(models[name]["defect_inheritance_rate"]) for name in (model, gate.against))
    found = shares_interval(ours, theirs, level)
    told = found.high <= gate.within + ROUNDING
    text = (
        f"defect inheritance rate {rate:.1%} against {reference:.1%} of {gate.against}; an increase of"
        f" {100 * gate.at_most:g} points is allowed; {_excluded(found, gate.within, told, 'rise', ours.total)}"
    )
    passed = rate - reference <= gate.at_most + ROUNDING and told
    return Verdict("defect_inheritance_increase", passed, text, (found.low, found.high))


def _judge_share(
    gate: DefectInheritanceShare, models: Mapping[str, Any], model: str, level: float, paired: Interval | None = None
) -> Verdict:
    images = int(models[model]["num_images"])
    ours, theirs = (lost_of(models.get(name, {}), images) for name in (model, gate.against))
    if ours is None or theirs is None or math.isnan(ours.rate) or math.isnan(theirs.rate):
        return _not_measured("defect_inheritance_share", "defect_inheritance_rate")
    rate, reference = (float(models[name]["defect_inheritance_rate"]) for name in (model, gate.against))
    found = paired or shares_interval(ours, theirs, level)
    nothing = theirs.count == 0 and found.high <= gate.within + ROUNDING
    told = found.high < 0 or nothing
    fewer = "no more than nothing" if nothing else "lower beyond the noise" if told else "not told apart from none"
    text = (
        f"defect inheritance rate {rate:.1%} against {reference:.1%} of {gate.against}; at most {gate.at_most:.0%} of"
        f" that is allowed; the difference is in {shown_points((found.low, found.high))} points at {found.level:.0%},"
        f" {fewer}"
    )
    passed = rate <= gate.at_most * reference + ROUNDING and told
    return Verdict("defect_inheritance_share", passed, text, (found.low, found.high))


def _value(results: Mapping[str, Any], model: str, key: str) -> float | None:
    value = results.get(model, {}).get(key)
    return None if value is None else float(value)


def _not_measured(gate: str, key: str) -> Verdict:
    return Verdict(gate, False, f"{key} was not measured for both models, so the gate cannot pass")
