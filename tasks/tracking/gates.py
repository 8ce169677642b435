"""Promotion gates: may this version carry the alias? In `mlflow/registry.yaml`, judged on the stages' results."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from seam.errors import ConfigError
from seam.methods.catalogue import STUDENTS, YARDSTICK, find
from tasks.project.measured import Compared, ComparedUnderAttack

_REFERENCES = tuple(m for m in STUDENTS if m.role != "ours")


def _known(name: str) -> str:
    try:
        return find(name, _REFERENCES).name
    except ConfigError as e:
        raise PydanticCustomError("reference", "{line}", {"line": str(e)}) from e


Reference = Annotated[str, AfterValidator(_known)]
"""A method that a transfer's student is compared with: the mean of its students over the seeds."""
POLICY = Path("mlflow") / "registry.yaml"
"""The registry policy, in the project's folder."""
_ROUNDING = 1e-9


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AccuracyDrop(_Strict):
    """Test accuracy may be at most this much (a fraction) below the reference's."""

    against: Compared = "source"
    at_most: float = Field(ge=-1, le=1)
    or_images: int = Field(default=0, ge=0)
    """A drop of this many test images passes too: on a small test split one image can be more than
    `at_most`."""


class FewerWeights(_Strict):
    """Non-zero weights may be at most this share of the reference's, and fewer in any case."""

    against: Compared = "source"
    at_most: float = Field(default=1.0, gt=0, le=1)


class DefectInheritanceIncrease(_Strict):
    """The defect inheritance rate may be at most this much (a fraction) above the reference's."""

    against: ComparedUnderAttack = "standard_finetuned"
    at_most: float = Field(ge=-1, le=1)


class Gates(_Strict):
    """The gates that apply; one that is left out does not."""

    accuracy_drop: AccuracyDrop | None = None
    fewer_weights: FewerWeights | None = None
    defect_inheritance_increase: DefectInheritanceIncrease | None = None


class StudentAccuracyDrop(_Strict):
    """A student's test accuracy may be at most this much (a fraction) below the reference's."""

    against: Reference = YARDSTICK.name
    at_most: float = Field(ge=-1, le=1)
    or_images: int = Field(default=0, ge=0)
    """As in `AccuracyDrop`."""


class DefectInheritanceShare(_Strict):
    """A student's defect inheritance rate may be at most this share of the reference's."""

    against: Reference = YARDSTICK.name
    at_most: float = Field(ge=0, le=1)


class TransferGates(_Strict):
    """The gates of a transfer's student; one that is left out does not apply."""

    accuracy_drop: StudentAccuracyDrop | None = None
    defect_inheritance_share: DefectInheritanceShare | None = None


class RegistryPolicy(_Strict):
    """The whole of `mlflow/registry.yaml`."""

    alias: str = Field(default="champion", pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")
    description: str = ""
    gates: Gates
    transfer_gates: TransferGates = TransferGates()


@dataclass(frozen=True)
class Verdict:
    """What one gate said."""

    gate: str
    passed: bool
    text: str

    def as_dict(self) -> dict[str, Any]:
        """For the card."""
        return asdict(self)


def load_policy(path: Path) -> RegistryPolicy:
    """Read and check the registry policy.

    Raises:
        ConfigError: missing, not YAML, an unknown gate (with a suggestion), a value out of range,
            or no gate at all.
    """
    try:
        raw = YAML(typ="safe").load(path.read_text())
        policy = RegistryPolicy.model_validate(raw)
    except FileNotFoundError as e:
        raise ConfigError(f"{path}: no such registry policy; restore the file from version control.") from e
    except YAMLError as e:
        raise ConfigError(f"{path}: expected YAML, got {' '.join(str(e).split())}") from e
    except ValidationError as e:
        raise ConfigError("; ".join(_explain(error, path) for error in e.errors())) from e
    if not policy.gates.model_fields_set:
        raise ConfigError(
            f"{path}: expected at least one gate under 'gates', got none; known: {', '.join(Gates.model_fields)}."
        )
    return policy


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
        verdicts.append(_judge_accuracy(gates.accuracy_drop, models, model))
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
        verdicts.append(_judge_accuracy(gates.accuracy_drop, models, "student"))
    if gates.defect_inheritance_share:
        verdicts.append(_judge_share(gates.defect_inheritance_share, models, "student"))
    return verdicts or [
        Verdict(
            "transfer_gates",
            False,
            f"the registry policy has no gate for transfers; known: {', '.join(TransferGates.model_fields)}",
        )
    ]


def _judge_accuracy(gate: AccuracyDrop | StudentAccuracyDrop, models: Mapping[str, Any], model: str) -> Verdict:
    ours, theirs = _value(models, model, "accuracy"), _value(models, gate.against, "accuracy")
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
    text = f"accuracy {ours:.2%} against {theirs:.2%} of {gate.against} on {images} test images: {gap_text}; {allowed}"
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


def _explain(error: Any, path: Path) -> str:
    *sections, last = [str(part) for part in error["loc"]] or ["registry.yaml"]
    key = ".".join([*sections, last])
    if error["type"] == "extra_forbidden":
        sets = {
            (): RegistryPolicy.model_fields,
            ("gates",): Gates.model_fields,
            ("transfer_gates",): TransferGates.model_fields,
        }
        known = list(sets.get(tuple(sections), {"against": None, "at_most": None}))
        close = difflib.get_close_matches(last, known, n=1, cutoff=0.5)
        kind = "gate" if sections in (["gates"], ["transfer_gates"]) else "key"
        return f"{path}: unknown {kind} '{key}'; " + (
            f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}."
        )
    if error["type"] == "reference":
        return f"{path}: {key}: {error['msg']}"
    got = error.get("input")
    return f"{path}: {key}: {error['msg']}, got {got if isinstance(got, str | int | float) else type(got).__name__!r}"
