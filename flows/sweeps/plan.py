"""What a sweep is asked for, in a short file or by flags, and the points that follow: a subject under one setting."""

from __future__ import annotations

import io
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from seam.errors import ConfigError
from tasks.project.change_params import with_overrides
from tasks.project.params import flat, load_params, parse_params, read_document, round_trip
from tasks.project.stages import KINDS, PROBLEM
from tasks.project.subject import Subject, chosen, entries
from tasks.project.yaml_file import read_yaml

MOST_POINTS = 10_000
"""More are a slip of the keyboard."""


def _range(value: Any) -> Any:
    """0..4 and [0, 1, 2, 3, 4] are the same seeds; 3 is one."""
    if isinstance(value, str) and (found := re.fullmatch(r"(\d+)\.\.(\d+)", value.strip())):
        if int(found[1]) > int(found[2]):
            raise ValueError("expected seeds from the lower to the higher, as 0..4")
        return tuple(range(int(found[1]), int(found[2]) + 1))
    if isinstance(value, str) and re.fullmatch(r"\d+(\s*,\s*\d+)*", value.strip()):
        return tuple(int(part) for part in value.split(","))
    return (value,) if isinstance(value, int) else value


class SweepPlan(BaseModel):
    """What a sweep is asked for: the keys of its file, and the form of its deployment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default="sweep", pattern=r"^[a-z0-9][a-z0-9_-]*$", description="Results lie in sweeps/NAME.")
    subjects: tuple[str, ...] = Field(
        default=(), description="Names of problems, targets, ... of params.yaml; every problem if empty."
    )
    every_class: bool = Field(
        default=False, description="Add a problem for each class of the data set, that class alone."
    )
    superclasses: Literal["cifar100", "imagenet"] | None = Field(
        default=None, description="Add the published superclasses of a data set."
    )
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_range)] = Field(
        default=(), description="Values of `seed`, as 0..4 or [0, 1]; that of params.yaml if empty."
    )
    grid: dict[str, tuple[Any, ...]] = Field(
        default_factory=dict, description="Parameter -> its values; every combination is a setting."
    )
    set: dict[str, Any] = Field(default_factory=dict, description="Parameters that differ from params.yaml throughout.")


@dataclass(frozen=True)
class Setting:
    """Parameters that differ from params.yaml's; none: as they are."""

    changes: tuple[tuple[str, str], ...] = ()
    """Name and value, the value as JSON."""

    @property
    def label(self) -> str:
        """seed=1 search.target=0.3."""
        return " ".join(f"{name}={value}" for name, value in self.changes)

    @property
    def values(self) -> dict[str, Any]:
        """By name."""
        return {name: json.loads(value) for name, value in self.changes}

    @property
    def overrides(self) -> list[str]:
        """As `--set` takes them."""
        return [f"{name}={value}" for name, value in self.changes]


@dataclass(frozen=True)
class Point:
    """One subject under one setting: the unit of work."""

    subject: Subject
    setting: Setting

    @property
    def key(self) -> str:
        """What it is called: digit-3, or digit-3 seed=1 search.target=0.3."""
        return f"{self.subject.name} {self.setting.label}".rstrip()


def read_plan(path: Path | None, flags: Mapping[str, Any]) -> SweepPlan:
    """The plan of a file, with flags that were given in place of its keys.

    Raises:
        ConfigError: no such file, not YAML, or a key or value that a plan does not have.
    """
    content: dict[str, Any] = {}
    if path is not None:
        try:
            content = read_yaml(path) or {}
        except FileNotFoundError as e:
            raise ConfigError(f"{path}: no such file; expected a sweep (docs/sweep.md), or a problem's name.") from e
        if not isinstance(content, dict):
            raise ConfigError(f"{path}: expected the keys of a sweep, got {type(content).__name__}.")
        content.setdefault("name", re.sub(r"[^a-z0-9_-]+", "-", path.stem.lower()).strip("-") or "sweep")
    try:
        return SweepPlan.model_validate(content | {k: v for k, v in flags.items() if v})
    except ValidationError as e:
        raise ConfigError("; ".join(_explain(one, path) for one in e.errors())) from e


def plan_of_flags(
    words: Sequence[str], here: Path, flags: Mapping[str, Any], grid: Sequence[str], overrides: Sequence[str]
) -> SweepPlan:
    """The plan of a command line.

    Args:
        words: one file, relative to `here`; or names of subjects.
        here: where the user stands.
        flags: values of a plan's keys; what was not given is None or empty.
        grid: "search.target=0.3,0.2" strings.
        overrides: "search.alpha=2" strings.

    Raises:
        ConfigError: what it is that is not right.
    """
    file = next((here / word for word in words if word.endswith((".yaml", ".yml"))), None)
    if file is not None and len(words) > 1:
        raise ConfigError(f"expected one file with a sweep, or names, got {' '.join(words)}.")
    further = {
        "subjects": () if file else tuple(words),
        "grid": dict(_values(text) for text in grid),
        "set": dict(_value(text) for text in overrides),
    }
    return read_plan(file, {**flags, **further})


def _values(text: str) -> tuple[str, tuple[Any, ...]]:
    """search.target=0.3,0.2: a name and its values; lists and other values with commas in them in brackets."""
    name, separator, values = text.partition("=")
    try:
        found = YAML(typ="safe").load(f"[{values}]")
    except YAMLError as e:
        raise ConfigError(f"--set-grid {text}: expected values in YAML with commas between them.") from e
    if not separator or not name or not found:
        raise ConfigError(f"--set-grid {text}: expected KEY=A,B, for example --set-grid search.target=0.3,0.2")
    return name, tuple(found)


def _value(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise ConfigError(f"--set {text}: expected KEY=VALUE, for example --set search.alpha=0.5")
    try:
        return name, YAML(typ="safe").load(value)
    except YAMLError as e:
        raise ConfigError(f"--set {text}: the value is not YAML.") from e


def _explain(error: Any, path: Path | None) -> str:
    key = ".".join(str(part) for part in error["loc"])
    where = f"{path}: " if path else "sweep: "
    if error["type"] == "extra_forbidden":
        return f"{where}unknown key '{key}'; known: {', '.join(SweepPlan.model_fields)}."
    return f"{where}{key}: {error['msg'].removeprefix('Value error, ')}, got {error.get('input')!r}"


def points_of(plan: SweepPlan, params_file: Path) -> list[Point]:
    """Every subject under every setting, settings one after the other; what changes nothing is no change.

    Raises:
        ConfigError: no such subject or parameter, a value out of range, or far too many points.
    """
    subjects = _subjects(plan, params_file)
    grid = {**({"seed": plan.seeds} if plan.seeds else {}), **plan.grid}
    for name, values in grid.items():
        if not values:
            raise ConfigError(f"sweep: {name} has no values; give at least one.")
    total = len(subjects)
    for values in grid.values():
        total *= len(values)
    if total > MOST_POINTS:
        raise ConfigError(f"sweep: expected at most {MOST_POINTS:,} points, got {total:,}; leave some values out.")
    here = flat(load_params(params_file).model_dump(mode="json", by_alias=True))
    settings: dict[Setting, None] = {}
    for combination in itertools.product(*grid.values()):
        changes = {**plan.set, **dict(zip(grid, combination, strict=True))}
        settings[_setting(changes, here)] = None
    for setting in settings:
        params_under(params_file, setting)
    return [Point(subject, setting) for setting in settings for subject in subjects]


def _setting(changes: Mapping[str, Any], here: Mapping[str, Any]) -> Setting:
    texts = {name: json.dumps(value) for name, value in changes.items()}
    return Setting(
        tuple((name, text) for name, text in texts.items() if name not in here or text != json.dumps(here[name]))
    )


def params_under(params_file: Path, setting: Setting) -> str:
    """The text of params.yaml under a setting.

    Raises:
        ConfigError: what it becomes is not valid.
    """
    if not setting.changes:
        return params_file.read_text()
    document = read_document(params_file)
    with_overrides(document, setting.overrides)
    parse_params(document, f"{params_file} with {setting.label}")
    buffer = io.StringIO()
    round_trip().dump(document, buffer)
    return buffer.getvalue()


def _subjects(plan: SweepPlan, params_file: Path) -> Sequence[Subject]:
    params = load_params(params_file)
    if not plan.subjects:
        return chosen(params, PROBLEM)
    kinds = {name: kind for kind in KINDS.values() for name in entries(params, kind)}
    unknown = [name for name in plan.subjects if name not in kinds]
    if unknown:
        known = ", ".join(kinds)
        raise ConfigError(f"unknown '{unknown[0]}', expected names of {params_file.name}: {known}.")
    return [Subject(kinds[name].name, name) for name in dict.fromkeys(plan.subjects)]
