"""The flow of modularizations, with stub stages: order, and only what is new."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from flows.commands.status import show_status
from flows.modularize import run_modularizations
from tasks.project.change_params import change_params
from tests.flows.ran import ran, task_states

BOTH = ["modularizations={parts: {}, other: {method: decomposition}}"]


def test_modularizations_run_in_order_then_only_what_is_new(server: None, project: Path) -> None:
    state = run_modularizations(BOTH, return_state=True)
    assert state.is_completed() and state.message == "2 of 2 modularizations done: parts, other."
    first = ["validate_data@None", "prepare_source@None"]
    assert ran(project) == [*first, "modularize@parts", "modularize@other"]
    again = run_modularizations(return_state=True)
    assert ran(project) == [] and set(task_states(again).values()) == {"Cached"}
    assert run_modularizations(["modularizations.other.decomposition.removal=0.3"], return_state=True).is_completed()
    assert ran(project) == ["modularize@other"]


def test_its_status_names_no_model(project: Path) -> None:
    change_params(project / "params.yaml", ["modularizations={parts: {}}", "restructurings={flat: {}}"])
    console = Console(record=True, width=200)
    show_status(project, [], console)
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in console.export_text().splitlines()]
    models = {row[0]: row[1:] for row in rows if len(row) == 5}
    assert models["parts"] == ["", "", "", "none yet"]
    assert models["flat"][0] == "seam-restructuring-flat" and models["digit-3"][0] == "seam-digit-3"


@pytest.mark.parametrize(
    ("overrides", "names", "message"),
    [
        ([], [], "params.yaml has no modularization; add one: seam modularize --set 'modularizations={parts: {}}'"),
        (BOTH, ["part"], "unknown modularization 'part', expected one of: parts, other"),
        (["modularizations={parts: {gradspliter: {}}}"], [], "did you mean 'modularizations.parts.gradsplitter'?"),
        (["modularizations={parts: {method: gradspliter}}"], [], "method must be one of gradsplitter, cnnsplitter"),
        (["modularizations={parts: {gradsplitter: {cycles: -1}}}"], [], "cycles must be >= 0, got -1"),
        (["modularizations={digit-3: {}}"], [], "must have different names"),
        (["modularizations={modularized: {}}"], [], "must not be called like a stage"),
        (["modularizations={parts: {data: {path: nowhere}}}"], [], "modularizations.parts.data.path: "),
        (["modularizations={parts: {data: {kind: npz}}}"], [], "modularizations.parts.data: data must have a path"),
    ],
)
def test_modularizations_that_cannot_begin_are_one_line(
    server: None, project: Path, overrides: list[str], names: list[str], message: str
) -> None:
    state = run_modularizations(overrides, None, names, return_state=True)
    assert state.is_failed() and message in str(state.message) and "\n" not in str(state.message)
    assert ran(project) == []
