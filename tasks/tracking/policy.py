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
from tasks.project.yaml_file import read_yaml

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
    """A drop of this many test images passes too: on a small test split one image can be more than
    `at_most`."""


class DefectInheritanceShare(_Strict):
    """A student's defect inheritance rate may be at most this share of the reference's."""

    against: Reference = YARDSTICK.name
    at_most: float = Field(ge=0, le=1)


class TransferGates(_Strict):
    """The gates of a transfer's student; one that is left out does not apply."""

    accuracy_drop: StudentAccuracyDrop | None = None
    defect_inheritance_share: DefectInheritanceShare | None = None


class NetworkAccuracyDrop(_Strict):
    """Test accuracy may be at most this much (a fraction) below that of what a network is made of."""

    at_most: float = Field(ge=-1, le=1)
    or_images: int = Field(default=0, ge=0)
    """A drop of this many test images passes too: on a small test split one image can be more than
    `at_most`."""


class NetworkGates(_Strict):
    """The gates of networks that are made of others; one that is left out does not apply."""

    accuracy_drop: NetworkAccuracyDrop | None = None


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


class RegistryPolicy(_Strict):
    """The whole of `mlflow/registry.yaml`."""

    alias: str = Field(default="champion", pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")
    description: str = ""
    gates: Gates
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
        policy = RegistryPolicy.model_validate(read_yaml(path))
    except FileNotFoundError as e:
        raise ConfigError(f"{path}: no such registry policy; restore the file from version control.") from e
    except ValidationError as e:
        raise ConfigError("; ".join(_explain(error, path) for error in e.errors())) from e
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
            ("gates",): Gates.model_fields,
            ("transfer_gates",): TransferGates.model_fields,
            ("network_gates",): NetworkGates.model_fields,
            ("conversion_gates",): ConversionGates.model_fields,
            ("conversion_gates", "float32"): ConversionGate.model_fields,
            ("conversion_gates", "int8"): ConversionGate.model_fields,
        }
        known = list(sets.get(tuple(sections), {"against": None, "at_most": None}))
        close = difflib.get_close_matches(last, known, n=1, cutoff=0.5)
        kind = "gate" if sections in (["gates"], ["transfer_gates"], ["network_gates"]) else "key"
        return f"{path}: unknown {kind} '{key}'; " + (
            f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}."
        )
    if error["type"] == "reference":
        return f"{path}: {key}: {error['msg']}"
    got = error.get("input")
    return f"{path}: {key}: {error['msg']}, got {got if isinstance(got, str | int | float) else type(got).__name__!r}"
