"""The registry policy, `mlflow/registry.yaml`: the alias, and the gates that a version has to pass to carry it."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from seam.errors import ConfigError
from seam.methods.catalogue import STUDENTS, YARDSTICK, find
from tasks.project.measured import Compared, ComparedUnderAttack
from tasks.project.mixed_kinds import check_kinds
from tasks.project.yaml_file import read_yaml

_REFERENCES = tuple(m for m in STUDENTS if m.role != "ours")


def _known(name: str) -> str:
    try:
        return find(name, _REFERENCES).name
    except ConfigError as e:
        raise PydanticCustomError("reference", "{line}", {"line": str(e)}) from e


Reference = Annotated[str, AfterValidator(_known)]
"""A method that a transfer's student is compared with: the mean of its students over the seeds."""
_SETS = (["gates"], ["champion_gates"], ["transfer_gates"], ["network_gates"])
POLICY = Path("mlflow") / "registry.yaml"
"""The registry policy, in the project's folder."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Certain(_Strict):
    """A gate on a rate of the test images."""

    within: float = Field(default=0.05, gt=0, le=1)
    """What the interval of the difference has to exclude: one that is this much (a fraction) for the
    worse. Where the test images are too few for that, nothing passes."""


class _AccuracyDrop(_Certain):
    at_most: float = Field(ge=-1, le=1)
    or_images: int = Field(default=0, ge=0)
    """A drop of this many test images passes too: on a small test split one image can be more than
    `at_most`."""


class AccuracyDrop(_AccuracyDrop):
    """Test accuracy may be at most this much (a fraction) below the reference's."""

    against: Compared = "source"


class FewerWeights(_Strict):
    """Non-zero weights may be at most this share of the reference's, and fewer in any case."""

    against: Compared = "source"
    at_most: float = Field(default=1.0, gt=0, le=1)


class DefectInheritanceIncrease(_Certain):
    """The defect inheritance rate may be at most this much (a fraction) above the reference's."""

    against: ComparedUnderAttack = "standard_finetuned"
    at_most: float = Field(ge=-1, le=1)


class Gates(_Strict):
    """The gates that apply; one that is left out does not."""

    accuracy_drop: AccuracyDrop | None = None
    fewer_weights: FewerWeights | None = None
    defect_inheritance_increase: DefectInheritanceIncrease | None = None


class StudentAccuracyDrop(_AccuracyDrop):
    """A student's test accuracy may be at most this much (a fraction) below the reference's."""

    against: Reference = YARDSTICK.name


class DefectInheritanceShare(_Certain):
    """A student's defect inheritance rate may be at most this share of the reference's, and is lower beyond the noise.

    Where the reference inherits nothing, `within` is what has to be excluded.
    """

    against: Reference = YARDSTICK.name
    at_most: float = Field(ge=0, le=1)


class TransferGates(_Strict):
    """The gates of a transfer's student; one that is left out does not apply."""

    accuracy_drop: StudentAccuracyDrop | None = None
    defect_inheritance_share: DefectInheritanceShare | None = None


class NetworkAccuracyDrop(_AccuracyDrop):
    """Test accuracy may be at most this much (a fraction) below that of what a network is made of."""


class NetworkGates(_Strict):
    """The gates of networks that are made of others; one that is left out does not apply."""

    accuracy_drop: NetworkAccuracyDrop | None = None


class Loss(_Certain):
    """What a rate may lose (a fraction) against the champion's."""

    at_most: float = Field(ge=0, le=1)


class Times(_Strict):
    """How many times the champion's a number may be."""

    at_most: float = Field(ge=1, le=100)


class ChampionGates(_Strict):
    """What a version may lose against the present champion; one that is null does not apply.

    The version has to be better beyond the noise in one of accuracy, defect inheritance and weights.
    """

    accuracy_drop: Loss | None = Loss(at_most=0.0)
    defect_inheritance_increase: Loss | None = Loss(at_most=0.01)
    weights: Times | None = Times(at_most=1.1)
    """Non-zero weights. Better: so many times fewer."""
    milliseconds: Times | None = Times(at_most=1.2)
    """Where both were timed on the same machine, engine and batch; times of two runs do not tell who is
    better."""


class EvidencePolicy(_Strict):
    """What the gates take for shown."""

    level: float = Field(default=0.95, gt=0.5, lt=1)
    """Confidence of the intervals."""
    above_chance: bool = True
    """Whether the accuracy has to be above that of always guessing the commonest class, beyond its interval."""


class ConversionGate(_Strict):
    """What engines of one precision may do otherwise than torch."""

    deviation: float = Field(default=1.0, gt=0, le=1)
    """Largest difference of an output, as a share of the largest one, on images of any kind."""
    flips: float = Field(default=0.0, ge=0, le=1)
    """Share of the test images for which another class may be answered."""


class ConversionGates(_Strict):
    """By precision of the engine; one that is left out does not apply."""

    float32: ConversionGate | None = None
    int8: ConversionGate | None = None


_Alias = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]


class RegistryPolicy(_Strict):
    """The whole of `mlflow/registry.yaml`."""

    alias: _Alias = "champion"
    challenger_alias: _Alias = "challenger"
    """Of the newest version that is not the champion."""
    description: str = ""
    evidence: EvidencePolicy = EvidencePolicy()
    gates: Gates
    champion_gates: ChampionGates = ChampionGates()
    transfer_gates: TransferGates = TransferGates()
    network_gates: NetworkGates = NetworkGates()
    conversion_gates: ConversionGates = ConversionGates()


def load_policy(path: Path) -> RegistryPolicy:
    """Read and check the registry policy.

    Raises:
        ConfigError: missing, not YAML, an unknown gate (with a suggestion), a value out of range,
            or no gate at all.
    """
    try:
        content = read_yaml(path)
        policy = RegistryPolicy.model_validate(content)
    except FileNotFoundError as e:
        raise ConfigError(f"{path}: no such registry policy; restore the file from version control.") from e
    except ValidationError as e:
        raise ConfigError("; ".join(_explain(error, path) for error in e.errors())) from e
    check_kinds(content, policy.model_dump(), str(path))
    if not policy.gates.model_fields_set:
        raise ConfigError(
            f"{path}: expected at least one gate under 'gates', got none; known: {', '.join(Gates.model_fields)}."
        )
    return policy


def _explain(error: Any, path: Path) -> str:
    *sections, last = [str(part) for part in error["loc"]] or ["registry.yaml"]
    key = ".".join([*sections, last])
    if error["type"] == "extra_forbidden":
        sets = {
            (): RegistryPolicy.model_fields,
            ("evidence",): EvidencePolicy.model_fields,
            ("gates",): Gates.model_fields,
            ("champion_gates",): ChampionGates.model_fields,
            ("transfer_gates",): TransferGates.model_fields,
            ("network_gates",): NetworkGates.model_fields,
            ("conversion_gates",): ConversionGates.model_fields,
            ("conversion_gates", "float32"): ConversionGate.model_fields,
            ("conversion_gates", "int8"): ConversionGate.model_fields,
        }
        known = list(sets.get(tuple(sections), ("against", "at_most", "or_images", "within")))
        close = difflib.get_close_matches(last, known, n=1, cutoff=0.5)
        kind = "gate" if sections in _SETS else "key"
        return f"{path}: unknown {kind} '{key}'; " + (
            f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}."
        )
    if error["type"] == "reference":
        return f"{path}: {key}: {error['msg']}"
    got = error.get("input")
    return f"{path}: {key}: {error['msg']}, got {got if isinstance(got, str | int | float) else type(got).__name__!r}"
