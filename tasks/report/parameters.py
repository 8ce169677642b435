"""Every parameter of `params.yaml`, as the config classes have it: key, default, what is allowed, and its line."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from seam.configs.check import bounds, key_of
from tasks.project.params import Params
from tasks.report.markdown import table
from tasks.report.words import NOTHING

_WORDS = {int: "whole number", float: "number", str: "text", bool: "true or false"}


def parameters(params: type[BaseModel] = Params) -> str:
    """A table of the parameters without a section, then a section of each config class, those inside it after it.

    Classes of named entries that are no section of their own come last.
    """
    loose = [name for name, field in params.model_fields.items() if not is_dataclass(field.annotation)]
    lines = lines_under_fields(params)
    rows = [(f"`{name}`", lines[name]) for name in loose]
    sections = [
        text
        for name, field in params.model_fields.items()
        if is_dataclass(field.annotation) and isinstance(field.annotation, type)
        for text in _section(name, field.annotation, field.default)
    ]
    known = {field.annotation for field in params.model_fields.values()}
    entries = [
        text
        for name, kind in get_type_hints(params, include_extras=True).items()
        if (config := _entry(kind)) is not None and config not in known
        for text in _section(f"{name}.NAME", config, None)
    ]
    return "\n\n".join([table(("parameter", "meaning"), rows), *sections, *entries])


def _entry(annotation: Any) -> type | None:
    """The config class of named entries; None for anything else."""
    value = get_args(annotation)[1] if get_origin(annotation) is dict else None
    found = get_args(value)[0] if get_origin(value) is Annotated else value
    return found if isinstance(found, type) and is_dataclass(found) else None


def _section(name: str, config: type, default: Any) -> Iterator[str]:
    """A heading and a table of one config class, and those of the classes inside it.

    Args:
        name: dotted, as in `params.yaml`.
        config: the class.
        default: the instance whose values are the defaults here; None: those of the class, where it has any.
    """
    known = {f.name: _default(f) for f in fields(config)} if default is None else vars(default)
    kinds = get_type_hints(config, include_extras=True)
    bases = [base for base in reversed(config.__mro__) if is_dataclass(base)]
    lines = {name: text for base in bases for name, text in lines_under_fields(base).items()}
    inside = [field for field in fields(config) if is_dataclass(kinds[field.name])]
    listed = {field.name: get_args(kinds[field.name])[0] for field in fields(config) if _lists(kinds[field.name])}
    rows = [
        (
            f"`{key_of(field.name)}`",
            NOTHING if known[field.name] is MISSING else f"`{_shown(known[field.name])}`",
            allowed(kinds[field.name]),
            lines[field.name],
        )
        for field in fields(config)
        if field not in inside
    ]
    about = " ".join((inspect.getdoc(config) or "").partition("\n\n")[0].split())
    yield f"## {name}\n\n{about}\n\n{table(('key', 'default', 'allowed', 'meaning'), rows)}"
    for field in inside:
        yield from _section(f"{name}.{field.name}", kinds[field.name], known[field.name])
    for field_name, kind in listed.items():
        yield from _section(f"One of {name}.{field_name}", kind, kind())


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _lists(annotation: Any) -> bool:
    """Whether it is a list of config classes."""
    return get_origin(annotation) is tuple and is_dataclass(get_args(annotation)[0])


@cache
def lines_under_fields(config: type) -> Mapping[str, str]:
    """The text under each field of a class, on one line; empty where there is none."""
    tree = ast.parse(inspect.getsource(inspect.getmodule(config) or config))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == config.__name__)
    found = {}
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            text = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            found[node.target.id] = " ".join(str(text).split())
    return found


def allowed(annotation: Any) -> str:
    """What values a parameter takes, in words: "number in (0, 1]", "null or whole number >= 8", "`a`, `b`"."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        base = arguments[0]
        inner = allowed(base)
        limits = bounds(Annotated[(object, *arguments[1:])])
        return f"{inner}, {limits}" if get_origin(base) is tuple else f"{inner} {limits}".rstrip()
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, UnionType):
        return "null or " + " or ".join(allowed(kind) for kind in arguments if kind is not NoneType)
    if origin is Mapping:
        return "sections"
    if origin is tuple:
        return f"list of: {allowed(arguments[0])}"
    return "sections, see below" if is_dataclass(annotation) else _WORDS[annotation]


def _shown(value: Any) -> str:
    """A value as YAML has it."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)
