"""The flow of selections, with stub stages: order, only what is new, and what the command writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.app import app
from flows.select import run_selections
from tests.flows.ran import ran, task_states

BOTH = ["selections={best: {candidates: [weights]}, other: {candidates: [weights], problem: digit-3}}"]


def test_selections_run_in_order_then_only_what_is_new(server: None, project: Path) -> None:
    state = run_selections(BOTH, return_state=True)
    assert state.is_completed() and state.message == "2 of 2 selections done: best, other."
    assert ran(project) == ["validate_data@None", "select@best", "select@other"]
    again = run_selections(return_state=True)
    assert ran(project) == [] and set(task_states(again).values()) == {"Cached"}
    assert run_selections(["selections.other.images=500"], return_state=True).is_completed()
    assert ran(project) == ["select@other"]


@pytest.mark.parametrize(
    ("overrides", "names", "message"),
    [
        ([], [], "params.yaml has no selection; add one, with the networks to choose from: seam select best"),
        (BOTH, ["bset"], "unknown selection 'bset', expected one of: best, other"),
        (["selections={best: {}}"], [], "candidates"),
        (["selections={best: {candidates: [a], by: luck}}"], [], "by"),
        (["selections={digit-3: {candidates: [a]}}"], [], "must have different names"),
    ],
)
def test_selections_that_cannot_begin_are_one_line(
    server: None, project: Path, overrides: list[str], names: list[str], message: str
) -> None:
    state = run_selections(overrides, None, names, return_state=True)
    assert state.is_failed() and message in str(state.message) and "\n" not in str(state.message)
    assert ran(project) == []


def test_options_are_an_entry_of_the_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    import flows.cli  # noqa: F401  has the commands

    asked = list[list[str]]()
    monkeypatch.setattr("flows.cli_select.run_kind", lambda kind, flow, changes, file, names: asked.append(changes))
    options = ["--candidates", "weights,torchvision:squeezenet1_1", "--data", "my flowers", "--image-size", "64"]
    assert CliRunner().invoke(app, ["select", "best", *options]).exit_code == 0
    assert asked == [
        [
            'selections.best.candidates=["weights", "torchvision:squeezenet1_1"]',
            'selections.best.data={kind: image_folder, path: "my flowers", image_size: 64}',
        ]
    ]
    assert CliRunner().invoke(app, ["select", "--for", "digit-3"]).exit_code == 1
