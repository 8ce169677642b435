"""Promotion gates: may this version carry the alias? The registry policy's, judged on the stages' results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

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

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Verdict:
    """What one gate said."""

    gate: str
    passed: bool
    text: str

    def as_dict(self) -> dict[str, Any]:
        """For the card."""
        return asdict(self)


def judge(
    policy: RegistryPolicy, model: str, evaluated: Mapping[str, Any], attacked: Mapping[str, Any]
) -> list[Verdict]:
    """Apply every gate to the model that is registered.

    Args:
        policy: the gates.
        model: one of `REGISTRABLE`.
        evaluated: evaluate/metrics.json.
        attacked: evaluate_robustness/metrics.json.
    """
    models = {**evaluated, **evaluated.get("baselines", {})}
    gates = policy.gates
    verdicts = []
    if gates.accuracy_drop:
        verdicts.append(_judge_accuracy(gates.accuracy_drop, models, model, gates.accuracy_drop.against))
    if gates.fewer_weights:
        verdicts.append(_judge_weights(gates.fewer_weights, models, model))
    if gates.defect_inheritance_increase:
        verdicts.append(_judge_inheritance(gates.defect_inheritance_increase, attacked, model))
    return verdicts


def judge_student(
    policy: RegistryPolicy, student: Mapping[str, Any], references: Mapping[str, Mapping[str, Any]]
) -> list[Verdict]:
    """Apply every gate of transfers to the student that is registered.

    Args:
        policy: the gates.
        student: `accuracy`, `defect_inheritance_rate` and `num_images` of it.
        references: method -> the same, means over its students.

    Returns:
        The verdicts; a failed one where the policy has no gate for transfers, so that nothing is
        promoted unseen.
    """
    gates, models = policy.transfer_gates, {**references, "student": student}
    verdicts = []
    if gates.accuracy_drop:
        verdicts.append(_judge_accuracy(gates.accuracy_drop, models, "student", gates.accuracy_drop.against))
    if gates.defect_inheritance_share:
        verdicts.append(_judge_share(gates.defect_inheritance_share, models, "student"))
    return verdicts or [
        Verdict(
            "transfer_gates",
            False,
            f"the registry policy has no gate for transfers; known: {', '.join(TransferGates.model_fields)}",
        )
    ]


def judge_network(
    policy: RegistryPolicy, made: Mapping[str, Any], before: Mapping[str, Any], against: str, num_images: int
) -> list[Verdict]:
    """Apply every gate to a network that is made of others.

    Args:
        policy: the gates.
        made: `accuracy` of it, on test.
        before: the same of what it is made of.
        against: what that is, in words.
        num_images: of test.

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
    return [_judge_accuracy(gate, models, "made", against)]


def _judge_accuracy(
    gate: AccuracyDrop | StudentAccuracyDrop | NetworkAccuracyDrop,
    models: Mapping[str, Any],
    model: str,
    against: str,
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
    text = f"accuracy {ours:.2%} against {theirs:.2%} of {against} on {images} test images: {gap_text}; {allowed}"
    passed = theirs - ours <= gate.at_most + _ROUNDING or 0 < gap <= gate.or_images
    return Verdict("accuracy_drop", passed, text)


def _judge_weights(gate: FewerWeights, models: Mapping[str, Any], model: str) -> Verdict:
    ours, theirs = _value(models, model, "params_nonzero"), _value(models, gate.against, "params_nonzero")
    if ours is None or theirs is None:
        return _not_measured("fewer_weights", "params_nonzero")
    share = ours / theirs
    text = (
        f"{int(ours):,} non-zero weights against {int(theirs):,} of {gate.against} ({share:.1%}); at most"
        f" {gate.at_most:.0%}, and fewer, is allowed"
    )
    return Verdict("fewer_weights", ours < theirs and share <= gate.at_most + _ROUNDING, text)


def _judge_inheritance(gate: DefectInheritanceIncrease, attacked: Mapping[str, Any], model: str) -> Verdict:
    ours, theirs = (
        _value(attacked, model, "defect_inheritance_rate"),
        _value(attacked, gate.against, "defect_inheritance_rate"),
    )
    if ours is None or theirs is None:
        return _not_measured("defect_inheritance_increase", "defect_inheritance_rate")
    text = (
        f"defect inheritance rate {ours:.1%} against {theirs:.1%} of {gate.against}; an increase of"
        f" {100 * gate.at_most:g} points is allowed"
    )
    return Verdict("defect_inheritance_increase", ours - theirs <= gate.at_most + _ROUNDING, text)


def _judge_share(gate: DefectInheritanceShare, models: Mapping[str, Any], model: str) -> Verdict:
    ours, theirs = (
        _value(models, model, "defect_inheritance_rate"),
        _value(models, gate.against, "defect_inheritance_rate"),
    )
    if ours is None or theirs is None:
        return _not_measured("defect_inheritance_share", "defect_inheritance_rate")
    text = (
        f"defect inheritance rate {ours:.1%} against {theirs:.1%} of {gate.against}; at most {gate.at_most:.0%} of that"
        " is allowed"
    )
    return Verdict("defect_inheritance_share", ours <= gate.at_most * theirs + _ROUNDING, text)


def _value(results: Mapping[str, Any], model: str, key: str) -> float | None:
    value = results.get(model, {}).get(key)
    return None if value is None else float(value)


def _not_measured(gate: str, key: str) -> Verdict:
    return Verdict(gate, False, f"{key} was not measured for both models, so the gate cannot pass")
