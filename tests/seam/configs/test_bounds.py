"""Bounds of configs: every one that a type names is held, for library users and for `params.yaml`."""

import importlib
import math
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import pytest
from jaxtyping import TypeCheckError
from pydantic import TypeAdapter, ValidationError

import seam.configs
from seam.configs.check import ConfigValueError, Ge, Gt, Le, Lt, NotEmpty, bounds, config
from seam.configs.search import SearchConfig

MODULES = [
    *(f"seam.configs.{module.name}" for module in pkgutil.iter_modules(seam.configs.__path__)),
    "tasks.project.stage_configs",
    "tasks.project.transfer_params",
]


def configs() -> Iterator[type]:
    for name in MODULES:
        for found in vars(importlib.import_module(name)).values():
            if isinstance(found, type) and found.__module__ == name and hasattr(found, "__pydantic_config__"):
                yield found


def outside(annotation: Any) -> list[Any]:
    """Values just outside of what a type allows."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        base, *limits = arguments
        if NotEmpty() in limits:
            return ["" if base is str else (), *outside(base)]
        step = 1 if base is int else 1e-9
        beyond = {Gt: 0, Ge: -step, Lt: 0, Le: step}
        return [base(limit.limit + beyond[type(limit)]) for limit in limits if type(limit) in beyond]
    if origin is tuple:
        return [(value,) for value in outside(arguments[0])]
    if origin is Literal:
        return ["none of them"]
    return [value for argument in arguments for value in outside(argument)]  # of a union, or none


CASES = [
    (kind, name, value)
    for kind in configs()
    for name, annotation in get_type_hints(kind, include_extras=True).items()
    for value in outside(annotation)
]


@pytest.mark.parametrize(("kind", "name", "value"), CASES, ids=lambda part: getattr(part, "__name__", repr(part)))
def test_a_value_just_outside_is_refused_and_its_field_named(kind: type, name: str, value: Any) -> None:
    key = name.removesuffix("_")  # as YAML spells it
    with pytest.raises((ConfigValueError, TypeCheckError), match=key) as caught:  # of seam, tests check types first
        kind(**{**_needed(kind), name: value})
    if isinstance(caught.value, ConfigValueError):
        assert caught.value.name.removesuffix("_") == key
        assert re.match(f"{key} must be .+, got ", str(caught.value))
    with pytest.raises(ValidationError, match=key):
        TypeAdapter(kind).validate_python({**_needed(kind), name: value})


def _needed(kind: type) -> dict[str, str]:
    """Texts for the fields without a default."""
    return {f.name: "some" for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}


def test_every_config_is_among_the_cases_and_refuses_unknown_keys() -> None:
    found = list(configs())
    bounded = {k for k in found if any(map(bounds, get_type_hints(k, include_extras=True).values()))}
    assert {kind for kind, _, _ in CASES} == bounded
    for kind in found:
        assert is_dataclass(kind)
        assert all(field.kw_only for field in fields(kind))
        with pytest.raises(ValidationError, match="nonsense"):
            TypeAdapter(kind).validate_python({"nonsense": 1})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"alpha": -1.0}, "alpha must be >= 0, got -1.0"),
        ({"alpha": math.nan}, "alpha must be >= 0, got nan"),
        ({"ramp": 1.5}, "ramp must be in (0, 1], got 1.5"),
        ({"accuracy_floor": 2.0}, "accuracy_floor must be null or in [0, 1], got 2.0"),
        ({"structure": "channels", "method": "drift"}, "structure channels needs method budget or one_pass, got drift"),
        (
            {"structure": "channels", "method": "one_pass"},
            "one_pass needs accuracy_floor 0, got None: its accuracy comes with fine-tuning",
        ),
    ],
)
def test_what_is_said(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        SearchConfig(**values)


def test_values_on_a_closed_side_are_taken() -> None:
    taken = SearchConfig(alpha=0.0, ramp=1.0, accuracy_floor=None, target=1.0, batch_size=2)
    assert (taken.alpha, taken.ramp, taken.accuracy_floor) == (0, 1, None)


@config
class Example:
    """One of each kind of bound."""

    whole: Annotated[int, Ge(2)] = 2
    sides: tuple[Annotated[int, Ge(1), Lt(9)], ...] | None = None
    names: Annotated[tuple[Literal["a", "b"], ...], NotEmpty()] = ("a",)
    free: float = 0.0


def test_bounds_in_words_and_nothing_else_refused() -> None:
    words = {name: bounds(kind) for name, kind in get_type_hints(Example, include_extras=True).items()}
    assert words == {
        "whole": ">= 2",
        "sides": "null or in [1, 9)",
        "names": "one of a, b and not empty",
        "free": "",
    }
    assert Example(sides=(1, 8), names=("b", "a"), free=math.inf).sides == (1, 8)
    for wrong in ({"sides": (1, 9)}, {"sides": 3}, {"names": ("a", "c")}, {"whole": "two"}):
        with pytest.raises(ConfigValueError):
            Example(**wrong)
