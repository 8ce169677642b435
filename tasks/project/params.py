"""`params.yaml`: read, and checked against the config dataclasses."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from ruamel.yaml import YAML

from seam.configs.check import ConfigValueError, key_of
from seam.configs.data import DataConfig, SplitConfig
from seam.configs.defects import AttackConfig
from seam.configs.inference import LatencyConfig, ProfileConfig
from seam.configs.methods import RestructureConfig
from seam.configs.networks import SourceConfig
from seam.configs.runtime import RuntimeConfig
from seam.configs.search import SearchConfig
from seam.configs.training import FinetuneConfig
from seam.errors import ConfigError
from tasks.project.mixed_kinds import check_kinds
from tasks.project.names_as_text import names_as_text
from tasks.project.stage_configs import (
    CompositionConfig,
    EvaluateConfig,
    ModularizationConfig,
    PatchConfig,
    RegisterConfig,
    SelectionConfig,
)
from tasks.project.stages import DIGEST_STAGE, KINDS, MODULARIZED, all_stages
from tasks.project.transfer_params import TransferParams
from tasks.project.yaml_file import parse_yaml, yaml_text

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
SUBJECTS = {kind.section: kind for kind in KINDS.values()}
"""Sections of names the user chose, by what they name: another file's take the place of all of them."""
STAGE_FOLDERS = {DIGEST_STAGE, MODULARIZED, *(stage.name for stage in all_stages().values() if stage.of == "project")}
"""Folders of artifacts/ that are no subject's."""


def class_names(value: Any) -> Any:
    """Class names are text, from Python too, where one may be a number. A bare name is a list of one."""
    if value is None:
        raise ValueError("a problem must name its classes, got nothing; list them, or [all]")
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return tuple(str(v) for v in values)


def _with_path(value: Any) -> Any:
    """A target without a path would be `data`'s default; DVC needs to see it too."""
    if isinstance(value, Mapping) and "path" not in value:
        raise ValueError(
            "a target must have a path, got none; for example {kind: image_folder, path: flowers, image_size: 224}"
        )
    return value


def _with_defaults(value: Any) -> Any:
    """An entry of which nothing is said has its defaults."""
    return {} if value is None else value


ClassNames = Annotated[tuple[str, ...], BeforeValidator(class_names)]
TargetData = Annotated[DataConfig, BeforeValidator(_with_path)]
Restructuring = Annotated[RestructureConfig, BeforeValidator(_with_defaults)]
Modularization = Annotated[ModularizationConfig, BeforeValidator(_with_defaults)]
Patch = Annotated[PatchConfig, BeforeValidator(_with_defaults)]


class Params(BaseModel):
    """The whole of `params.yaml`; a section has the name of the stage that reads it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(default=0, ge=0)
    """Of every random draw."""
    runtime: RuntimeConfig = RuntimeConfig()
    data: DataConfig = DataConfig()
    problems: dict[str, ClassNames]
    """Name of a problem: the classes of it."""
    split_dataset: SplitConfig = SplitConfig()
    prepare_source: SourceConfig = SourceConfig()
    profile_source: ProfileConfig = ProfileConfig()
    search: SearchConfig = SearchConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    evaluate_robustness: AttackConfig = AttackConfig()
    benchmark_latency: LatencyConfig = LatencyConfig()
    register_model: RegisterConfig = RegisterConfig()
    targets: dict[str, TargetData] = Field(default_factory=dict)
    """Name of a data set to transfer to: where it is, with the keys of `data`."""
    transfer: TransferParams = TransferParams()
    restructurings: dict[str, Restructuring] = Field(default_factory=dict)
    """Name of a network of fewer blocks, or with some trained again: how it is made of the source."""
    modularizations: dict[str, Modularization] = Field(default_factory=dict)
    """Name of a set of modules, one a class: how the source is taken apart."""
    compositions: dict[str, CompositionConfig] = Field(default_factory=dict)
    """Name of a network that is put together: of whose modules, for which classes."""
    patches: dict[str, Patch] = Field(default_factory=dict)
    """Name of a weak model that is mended: by whose module, for which class."""
    selections: dict[str, SelectionConfig] = Field(default_factory=dict)
    """Name of a choice among trained networks: which, and what for."""

    @field_validator("problems")
    @classmethod
    def _at_least_one(cls, problems: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if not problems:
            raise ValueError("problems must name at least one target problem, got none")
        return problems

    @field_validator(*SUBJECTS)
    @classmethod
    def _names(cls, entries: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        kind = SUBJECTS[str(info.field_name)]
        for name in entries:
            if not _NAME.fullmatch(name):
                raise ValueError(f"a {kind.name}'s name is lower-case letters, digits, '-' and '_', got '{name}'")
            if name in STAGE_FOLDERS:
                raise ValueError(
                    f"a {kind.name} must not be called like a stage (both are folders of artifacts/), got '{name}'"
                )
            for section in info.data.keys() & SUBJECTS.keys() - {kind.section}:
                if name in info.data[section]:
                    raise ValueError(
                        f"a {kind.name} and a {SUBJECTS[section].name} must have different names (both are folders of"
                        f" artifacts/), got '{name}'"
                    )
        return entries


def load_params(path: Path) -> Params:
    """Read and check a parameter file.

    Raises:
        ConfigError: missing, not YAML, an unknown key (with a suggestion) or a value out of range.
    """
    return _read_once(_text_of(path), path)


@lru_cache(maxsize=8)
def _read_once(text: str, path: Path) -> Params:
    """The same text is parsed once a process: every stage asks, and a file of hundreds of problems takes a second."""
    return parse_params(_document_of(text, path), str(path))


def parse_params(values: Mapping[str, Any], where: str) -> Params:
    """Check parameters already read; `where` names them in errors."""
    try:
        params = Params.model_validate(values)
    except ValidationError as e:
        raise ConfigError("; ".join(_explain(error, where) for error in e.errors())[:1_200]) from e
    check_kinds(values, params.model_dump(), where)
    return params


def flat(sections: Mapping[str, Any], prefix: str = "", *, empty: bool = False) -> dict[str, Any]:
    """Sections within sections as one: {"search": {"alpha": 1.0}} is {"search.alpha": 1.0}.

    Args:
        sections: of parameters.
        prefix: before their names.
        empty: whether a section without anything in it is there too, as {}.
    """
    found: dict[str, Any] = {}
    for key, value in sections.items():
        inside = isinstance(value, Mapping) and not (empty and not value)
        own = {} if isinstance(value, Mapping) else value  # not the section itself, which may be filled later
        found |= flat(value, f"{prefix}{key}.", empty=empty) if inside else {f"{prefix}{key}": own}
    return found


def round_trip() -> YAML:
    """A reader and writer of YAML that keeps comments, quotes and order."""
    yaml = YAML()
    yaml.width = 200
    yaml.preserve_quotes = True
    yaml.representer.add_representer(type(None), _null)
    return yaml


def _null(representer: Any, _: None) -> Any:
    """As it is typed by hand: DVC, other readers and people see that there is a value."""
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def read_document(path: Path) -> Any:
    """A parameter file as it stands, with its comments, not checked; names in it are text.

    Raises:
        ConfigError: missing, not YAML, or not sections.
    """
    return _document_of(_text_of(path), path)


def _text_of(path: Path) -> str:
    try:
        return yaml_text(path)
    except FileNotFoundError as e:
        raise ConfigError(
            f"{path}: no such parameter file; run in the project's folder, or name one with --params."
        ) from e


def _document_of(text: str, path: Path) -> Any:
    document = parse_yaml(text, path, lambda text: round_trip().load(names_as_text(text)))
    if not isinstance(document, Mapping):
        raise ConfigError(f"{path}: expected a mapping of sections, got {type(document).__name__}.")
    return document


def _explain(error: Any, where: str) -> str:
    """One readable line of a pydantic error."""
    location = [str(part) for part in error["loc"]]
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, ConfigValueError):
        location.append(cause.name)
    key = ".".join(location)
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = _known_keys(location[:-1])
        close = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
        full = ".".join([*location[:-1], close[0]]) if close else ""
        hint = f"did you mean '{full}'?" if close else f"known: {', '.join(sorted(known))}."
        return f"{where}: unknown parameter '{key}'; {hint}"
    message = error["msg"].removeprefix("Value error, ")
    shown = (
        ""
        if message.startswith(location[-1] if location else "?") or "got" in message
        else f", got {error.get('input')!r}"
    )
    return f"{where}: {key}: {message}{shown}"


def _known_keys(location: Sequence[str]) -> list[str]:
    """Names of the parameters in a section, or in a section of a section."""
    if not location:
        return list(Params.model_fields)
    section = Params.model_fields.get(location[0])
    kind: Any = section.annotation if section else None
    for part in location[1:]:
        if part.isdigit() and get_origin(kind) is tuple:  # one of a list of sections
            kind = get_args(kind)[0]
            continue
        kind = (
            next(a for a in (get_args(kind)[1], *get_args(get_args(kind)[1])) if is_dataclass(a))
            if get_args(kind)
            else get_type_hints(kind).get(part)
        )
        kind = next((a for a in get_args(kind) if get_origin(kind) is UnionType and is_dataclass(a)), kind)
    return [key_of(f.name) for f in fields(kind)] if is_dataclass(kind) else []
