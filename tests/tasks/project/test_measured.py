"""The table of measured models, and what is made of it."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from tasks.project import measured
from tasks.project.measured import MEASURED


def test_lists_are_what_the_stages_make_and_compare() -> None:
    assert measured.SAVED == ("source", "head_only", "reengineered", "standard_finetuned", "reengineered_finetuned")
    assert measured.ATTACKED == ("source", "reengineered", "standard_finetuned", "reengineered_finetuned")
    assert measured.BEFORE_AND_AFTER == ("source", "reengineered", "reengineered_finetuned")
    assert measured.SAME_DENSITY == ("reengineered_refit", "taylor_mask", "magnitude_mask", "random_mask")
    assert measured.UNSEARCHED == ("taylor_mask", "magnitude_mask", "random_mask")
    assert {n for n, row in MEASURED.items() if row.has_searched_mask} == {
        n for n in MEASURED if n.startswith("reengineered")
    }


def test_names_and_labels_are_each_one_models() -> None:
    assert list(MEASURED) == [row.name for row in MEASURED.values()]
    assert len({row.label for row in MEASURED.values()}) == len(MEASURED)
    assert all(row.words.endswith(".") for row in MEASURED.values())
    saved = [row.weights for row in MEASURED.values() if row.weights]
    assert len(set(saved)) == len(saved)
    assert set(measured.ATTACKED) <= set(measured.SAVED)  # an attack loads what it attacks


@pytest.mark.parametrize(
    ("kind", "taken", "refused"),
    [
        (measured.Registrable, measured.REGISTRABLE, "source"),
        (measured.Compared, ("source", "head_only", "taylor_mask"), "reengineered"),
        (measured.ComparedUnderAttack, ("source", "standard_finetuned"), "head_only"),
    ],
)
def test_parameters_and_policies_take_the_tables_names_alone(kind: Any, taken: tuple[str, ...], refused: str) -> None:
    assert set(taken) <= set(get_args(kind)) <= set(MEASURED)
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    assert [adapter.validate_python(name) for name in taken] == list(taken)
    with pytest.raises(ValidationError, match="Input should be"):
        adapter.validate_python(refused)
