"""`params.yaml`: read, checked against the config dataclasses, changed from the command line."""

from __future__ import annotations

import difflib
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from seam.configs.check import ConfigValueError
from seam.configs.data import DataConfig, SplitConfig
from seam.configs.defects import AttackConfig
from seam.configs.inference import LatencyConfig
from seam.configs.networks import SourceConfig
from seam.configs.runtime import RuntimeConfig
from seam.configs.search import SearchConfig
from seam.configs.training import FinetuneConfig
from seam.errors import ConfigError
from seam.files import write_text
from tasks.project.stage_configs import EvaluateConfig, RegisterConfig
from tasks.project.stages import KINDS
from tasks.project.transfer_params import TransferParams

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_SUBJECTS = {kind.section: kind for kind in KINDS.values()}
"""Sections of names the user chose, by what they name: another file's take the place of all of them."""


def _class_names(value: Any) -> Any:
    """YAML reads a class called 3 as a number; class names are text. A bare name is a list of one."""
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return tuple(str(v) for v in values)


def _with_path(value: Any) -> Any:
    """A target without a path would be `data`'s default; DVC needs to see it too."""
    if isinstance(value, Mapping) and "path" not in value:
        raise ValueError(
            "a target must have a path, got none; for example {kind: image_folder, path: flowers, image_size: 224}"
        )
    return value


ClassNames = Annotated[tuple[str, ...], BeforeValidator(_class_names)]
TargetData = Annotated[DataConfig, BeforeValidator(_with_path)]


class Params(BaseModel):
    """The whole of `params.yaml`; a section has the name of the stage that reads it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(default=0, ge=0)
    runtime: RuntimeConfig = RuntimeConfig()
    data: DataConfig = DataConfig()
    problems: dict[str, ClassNames]
    split_dataset: SplitConfig = SplitConfig()
    prepare_source: SourceConfig = SourceConfig()
    search: SearchConfig = SearchConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    evaluate_robustness: AttackConfig = AttackConfig()
    benchmark_latency: LatencyConfig = LatencyConfig()
    register_model: RegisterConfig = RegisterConfig()
    targets: dict[str, TargetData] = Field(default_factory=dict)
    transfer: TransferParams = TransferParams()

    @field_validator("problems")
    @classmethod
    def _at_least_one(cls, problems: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if not problems:
            raise ValueError("problems must name at least one target problem, got none")
        return problems

    @field_validator(*_SUBJECTS)
    @classmethod
    def _names(cls, entries: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        kind = _SUBJECTS[str(info.field_name)]
        for name in entries:
            if not _NAME.fullmatch(name):
                raise ValueError(f"a {kind.name}'s name is lower-case letters, digits, '-' and '_', got '{name}'")
            for section in info.data.keys() & _SUBJECTS.keys() - {kind.section}:
                if name in info.data[section]:
                    raise ValueError(
                        f"a {kind.name} and a {_SUBJECTS[section].name} must have different names (both are folders of"
                        f" artifacts/), got '{name}'"
                    )
        return entries


def load_params(path: Path) -> Params:
    """Read and check a parameter file.

    Raises:
        ConfigError: missing, not YAML, an unknown key (with a suggestion) or a value out of range.
    """
    return parse_params(_read(path), str(path))


def parse_params(values: Mapping[str, Any], where: str) -> Params:
    """Check parameters already read; `where` names them in errors."""
    try:
        return Params.model_validate(values)
    except ValidationError as e:
        raise ConfigError("; ".join(_explain(error, where) for error in e.errors())) from e


def change_params(path: Path, overrides: Sequence[str] = (), overlay: Path | None = None) -> list[str]:
    """Set parameters in the file at `path`, as `dvc exp run -S` does, keeping its comments.

    Nothing is written unless the result is valid and differs.

    Args:
        path: the project's `params.yaml`.
        overrides: "section.key=value" strings, values in YAML.
        overlay: a file whose values replace those in `path` (`problems` and `targets` as a whole).

    Returns:
        One line per changed value: "search.alpha: 1.0 -> 0.5".

    Raises:
        ConfigError: an override that is not KEY=VALUE, or a result that is not valid.
    """
    document = _read(path)
    before = _flatten(document)
    if overlay is not None:
        _merge(document, _read(overlay))
    for override in overrides:
        _set(document, override)
    parse_params(document, f"{overlay or path}" + (" with --set" if overrides else ""))
    after = _flatten(document)
    changes = [
        f"{k}: {before.get(k, '(default)')} -> {after.get(k, '(removed)')}"
        for k in sorted({*before, *after})
        if before.get(k) != after.get(k)
    ]
    if changes:
        buffer = io.StringIO()
        _yaml().dump(document, buffer)
        write_text(path, buffer.getvalue())
    return changes


def add_problems(path: Path, problems: Mapping[str, Sequence[str]]) -> None:
    """Write further target problems below those in the file at `path`; everything else in it stays as it is.

    Raises:
        ConfigError: the result is not valid; nothing is written then.
    """
    document = _read(path)
    lines = path.read_text().splitlines()
    keys = list(document)
    first, after = document.lc.key("problems")[0], [document.lc.key(k)[0] for k in keys[keys.index("problems") + 1 :]]
    end = min([*after, len(lines)])
    while lines[end - 1].strip() == "" or lines[end - 1].lstrip().startswith("#"):
        end -= 1  # blank lines and comments before the next section belong to it
    present = document["problems"]
    flow = present.fa.flow_style() is True
    indent = " " * (2 if flow else present.lc.key(next(iter(present)))[1])
    kept = ["problems:", *_problem_lines(present, indent)] if flow else lines[first:end]
    text = "\n".join([*lines[:first], *kept, *_problem_lines(problems, indent), *lines[end:]]) + "\n"
    parse_params(_yaml().load(text), str(path))
    write_text(path, text)


def _problem_lines(problems: Mapping[str, Any], indent: str) -> list[str]:
    names = {name: name if _is_plain(name) else json.dumps(name) for name in problems}
    return [
        f"{indent}{names[name]}: {json.dumps(list(_class_names(classes)), ensure_ascii=False)}"
        for name, classes in problems.items()
    ]


def _is_plain(name: str) -> bool:
    """Whether YAML, of either version, reads this without quotes as the text it is."""
    return YAML(typ="safe").load(name) == name and name not in ("y", "n", "yes", "no", "on", "off")


def _yaml() -> YAML:
    yaml = YAML()
    yaml.width = 200
    yaml.preserve_quotes = True
    return yaml


def _read(path: Path) -> Any:
    try:
        document = _yaml().load(path.read_text())
    except FileNotFoundError as e:
        raise ConfigError(
            f"{path}: no such parameter file; run in the project's folder, or name one with --params."
        ) from e
    except (YAMLError, UnicodeDecodeError, IsADirectoryError) as e:
        raise ConfigError(f"{path}: expected YAML, got {' '.join(str(e).split())}") from e
    if not isinstance(document, Mapping):
        raise ConfigError(f"{path}: expected a mapping of sections, got {type(document).__name__}.")
    return document


def _set(document: Any, override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {override}: expected KEY=VALUE, for example --set search.alpha=0.5")
    try:
        value = YAML(typ="safe").load(text)
    except YAMLError as e:
        raise ConfigError(f"--set {override}: the value is not YAML ({' '.join(str(e).split())})") from e
    *sections, last = key.strip().split(".")
    for section in sections:
        document = document.setdefault(section, {})
        if not isinstance(document, Mapping):
            raise ConfigError(f"--set {override}: '{section}' holds a value, not a section.")
    document[last] = value


def _merge(document: Any, changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(document.get(key), Mapping) and key not in _SUBJECTS:
            _merge(document[key], value)
        else:
            document[key] = value


def _flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


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
        kind = (
            next(a for a in get_args(get_args(kind)[1]) if is_dataclass(a))
            if get_args(kind)
            else get_type_hints(kind).get(part)
        )
    return [f.name for f in fields(kind)] if is_dataclass(kind) else []
