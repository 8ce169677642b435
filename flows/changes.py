"""The parameters of a problem as a form: choices where there are choices, bounds where there are bounds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import annotated_types
from pydantic import BaseModel, ConfigDict, Field, create_model

from seam.configs.check import Bound, Ge, Gt, Le, Lt
from tasks.project.params import Params
from tasks.project.stages import PROBLEM
from tasks.report.parameters import lines_under_fields

_LIMITS = {Gt: annotated_types.Gt, Ge: annotated_types.Ge, Lt: annotated_types.Lt, Le: annotated_types.Le}


def _values(annotation: Any) -> Any:
    """The type of a parameter with its bounds as pydantic has them; None: it is no choice, number, yes or no."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        base = _values(arguments[0])
        limits = [_LIMITS[type(a)](a.limit) if isinstance(a, Bound) else a for a in arguments[1:]]
        return None if base is None else Annotated[(base, *limits)]
    if origin in (Union, UnionType):
        found = [_values(a) for a in arguments if a is not NoneType]
        return None if None in found or len(found) > 1 else found[0]
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        inner: Any = _values(arguments[0])
        return None if inner is None else list[inner]
    return annotation if origin is Literal or annotation in (int, float, bool) else None


def _section(name: str, config: type) -> type[BaseModel]:
    """A part of the form: the parameters of a section that are choices, numbers, or yes or no."""
    lines, hints = lines_under_fields(config), get_type_hints(config, include_extras=True)
    shown = {f.name: _values(hints[f.name]) for f in fields(config)}
    asked: dict[str, Any] = {
        key: (kind | None, Field(default=None, description=lines[key]))
        for key, kind in shown.items()
        if kind is not None
    }
    return create_model(name, __config__=ConfigDict(extra="forbid", title=name, protected_namespaces=()), **asked)


def _sections() -> Iterator[tuple[str, type[BaseModel]]]:
    """Those of the stages of a problem, and of what they run on."""
    for name in ("runtime", *(stage.name for stage in PROBLEM.stages if stage.of == "subject")):
        config = Params.model_fields[name].annotation if name in Params.model_fields else None
        if isinstance(config, type) and is_dataclass(config):
            yield name, _section(name, config)


Changes: Any = create_model(
    "Changes",
    __config__=ConfigDict(extra="forbid"),
    __doc__="What to change in params.yaml; what is left empty stays.",
    **{name: (kind | None, None) for name, kind in _sections()},  # type: ignore[call-overload]
)
"""A model of pydantic, as Prefect makes forms of."""


def overrides_of(changes: BaseModel) -> list[str]:
    """The changes as `--set` has them: ["search.alpha=0.5"]."""
    asked = changes.model_dump(exclude_none=True, mode="json")
    return [f"{section}.{key}={json.dumps(value)}" for section, found in asked.items() for key, value in found.items()]
