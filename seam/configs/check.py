"""What makes a class a config: a frozen dataclass whose numbers are held to the bounds in their types.

The bounds hold for whoever makes one, from `params.yaml` or in a notebook. No torch here: the
command line validates parameters without paying for its import.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    TypeVar,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from seam.errors import ConfigError

T = TypeVar("T")


class ConfigValueError(ConfigError):
    """A value of a config is not what its type allows."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name
        """Of the field."""


@dataclass(frozen=True)
class Bound:
    """One side of the range of a number, as an annotation: `Annotated[float, Gt(0), Le(1)]`."""

    limit: int | float
    sign: ClassVar[str]
    holds: ClassVar[Callable[[Any, Any], bool]]


class Gt(Bound):
    """Greater than."""

    sign, holds = ">", operator.gt


class Ge(Bound):
    """Greater or equal."""

    sign, holds = ">=", operator.ge


class Lt(Bound):
    """Less than."""

    sign, holds = "<", operator.lt


class Le(Bound):
    """Less or equal."""

    sign, holds = "<=", operator.le


@dataclass(frozen=True)
class NotEmpty:
    """A text or a tuple with something in it, as an annotation."""


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def config(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass of keywords whose values are checked against their types' bounds.

    The class's own `__post_init__` has the rules between its fields; it runs after that check.
    Pydantic, where it fills one in, refuses keys that are not fields.

    Raises:
        ConfigValueError: when one is made with a value out of bounds: "alpha must be >= 0, got -1".
    """
    between_fields = cls.__dict__.get("__post_init__")

    @cache
    def bounded() -> dict[str, Any]:
        return {name: kind for name, kind in get_type_hints(cls, include_extras=True).items() if bounds(kind)}

    def __post_init__(self: T) -> None:  # noqa: N807 - dataclasses call it
        for name, kind in bounded().items():
            if not _allows(kind, value := getattr(self, name)):
                key = key_of(name)
                raise ConfigValueError(key, f"{key} must be {bounds(kind)}, got {value!r}")
        if between_fields is not None:
            between_fields(self)

    cls.__post_init__ = __post_init__  # type: ignore[attr-defined]
    cls.__pydantic_config__ = {"extra": "forbid", "serialize_by_alias": True}  # type: ignore[attr-defined]
    return dataclass(frozen=True, kw_only=True)(cls)


def key_of(field: str) -> str:
    """What a field of a config is called in YAML, where Python has the word for itself: `class` for `class_`."""
    return field.removesuffix("_")


def require_sha256(value: str | None) -> None:
    """Raise a ConfigValueError unless it is None or a SHA-256 as 64 hex digits."""
    wanted = "sha256 must be 64 hex digits"
    require(value is None or re.fullmatch(r"[0-9a-f]{64}", value.lower()) is not None, f"{wanted}, got {value}")


def require(condition: bool, message: str) -> None:
    """Raise a ConfigError with this message unless the condition holds."""
    if not condition:
        raise ConfigError(message)


def bounds(annotation: Any) -> str:
    """What values a type allows, in words: "in (0, 1]", "null or >= 8", "one of a, b"; empty where all are."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        base, *limits = arguments
        found = [bounds(base), _range([b for b in limits if isinstance(b, Bound)])]
        if NotEmpty() in limits:
            found.append("not empty")
        return " and ".join(filter(None, found))
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin in (Union, UnionType):
        others = " or ".join(filter(None, map(bounds, (a for a in arguments if a is not NoneType))))
        return f"null or {others}" if others else ""
    return bounds(arguments[0]) if origin is tuple else ""


def _range(limits: Sequence[Bound]) -> str:
    if len(limits) != 2:
        return " and ".join(f"{b.sign} {b.limit:g}" for b in limits)
    low, high = limits
    opening, closing = "[" if isinstance(low, Ge) else "(", "]" if isinstance(high, Le) else ")"
    return f"in {opening}{low.limit:g}, {high.limit:g}{closing}"


def _allows(annotation: Any, value: Any) -> bool:
    """Whether a value is within the bounds of a type; of the type itself mypy and pydantic judge."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        base, *limits = arguments
        within = all(_within(value, limit) for limit in limits if isinstance(limit, Bound))
        return within and (NotEmpty() not in limits or bool(value)) and _allows(base, value)
    if origin is Literal:
        return value in arguments
    if origin in (Union, UnionType):
        return any(_allows(kind, value) for kind in arguments)
    if origin is tuple:
        return isinstance(value, Sequence) and all(_allows(arguments[0], item) for item in value)
    return value is None if annotation is NoneType else True


def _within(value: Any, limit: Bound) -> bool:
    try:
        return bool(type(limit).holds(value, limit.limit))
    except TypeError:  # not a number at all
        return False
