"""The flow of restructurings, with stub stages: order, and only what is new."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.restructure import run_restructurings
from tests.flows.ran import ran, task_states

BOTH = ["restructurings={flat: {}, kept: {aim: repair}}"]


def made(name: str) -> list[str]:
    return [f"restructure@{name}", f"register_restructuring@{name}"]


def test_restructurings_run_in_order_then_only_what_is_new(server: None, project: Path) -> None:
    state = run_restructurings(BOTH, return_state=True)
    assert state.is_completed() and state.message == "2 of 2 restructurings done: flat, kept."
    first = ["validate_data@None", "prepare_source@None"]
    assert ran(project) == [*first, *made("flat"), *made("kept")]
    again = run_restructurings(return_state=True)
    assert ran(project) == [] and set(task_states(again).values()) == {"Cached"}
    assert run_restructurings(["restructurings.kept.threshold=0.95"], return_state=True).is_completed()
    assert ran(project) == made("kept")


@pytest.mark.parametrize(
    ("overrides", "names", "message"),
    [
        ([], [], "params.yaml has no restructuring; add one: seam restructure --set 'restructurings={flat: {}}'"),
        (BOTH, ["flit"], "unknown restructuring 'flit', expected one of: flat, kept"),
        (["restructurings={flat: {treshold: 0.9}}"], [], "did you mean 'restructurings.flat.threshold'?"),
        (["restructurings={flat: {threshold: 1.0}}"], [], "threshold must be in [0, 1), got 1.0"),
        (["restructurings={digit-3: {}}"], [], "must have different names"),
    ],
)
def test_restructurings_that_cannot_begin_are_one_line(
    server: None, project: Path, overrides: list[str], names: list[str], message: str
) -> None:
    state = run_restructurings(overrides, None, names, return_state=True)
    assert state.is_failed() and message in str(state.message) and "\n" not in str(state.message)
    assert ran(project) == []
