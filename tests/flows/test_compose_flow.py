"""The flow of compositions, with stub stages: what they are made of first, only what is new, and the short form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import flows.cli  # noqa: F401  the commands
from flows.app import app
from flows.compose import run_compositions
from flows.modularize import run_modularizations
from flows.stage_cache import shared_cache
from tasks.project.params import load_params
from tasks.project.subject import Subject, address_of
from tests.flows.ran import ran, task_states

PARTS = "modularizations={parts: {}, more: {method: decomposition}, unused: {}}"
BOTH = [PARTS, 'compositions={few: {of: [parts], classes: ["3", "8"]}, best: {of: [parts, more]}}']


def made(name: str) -> list[str]:
    return [f"compose@{name}", f"register_composition@{name}"]


def test_modules_are_made_first_then_only_what_is_new_runs(server: None, project: Path) -> None:
    state = run_compositions(BOTH, return_state=True)
    assert state.is_completed() and state.message == "2 of 2 compositions done: few, best."
    first = ["validate_data@None", "prepare_source@None"]
    assert ran(project) == [*first, "modularize@parts", "modularize@more", *made("few"), *made("best")]
    again = run_compositions(return_state=True)
    assert ran(project) == [] and set(task_states(again).values()) == {"Cached"}
    assert run_compositions(["compositions.few.classes=['3', '5']"], return_state=True).is_completed()
    assert ran(project) == made("few")
    more = address_of("modularize", Subject("modularization", "more"))
    shared_cache(project).run(more, lambda: _exchange(project, "more"))
    assert run_compositions(return_state=True).is_completed() and ran(project) == made("best")  # few has no part of it


def test_other_modularizations_do_not_matter(server: None, project: Path) -> None:
    assert run_compositions(BOTH, return_state=True).is_completed()
    assert run_modularizations(["modularizations.third={}"], return_state=True).is_completed()
    assert "modularize@third" in ran(project)
    assert shared_cache(project).staleness(address_of("compose", Subject("composition", "few"))).reasons == ()
    again = run_compositions(return_state=True)
    assert ran(project) == [] and task_states(again)["compose [few]"] == "Cached"


def _exchange(project: Path, name: str) -> None:
    """As the stage does where modules turn out otherwise."""
    (project / f"artifacts/modularized/{name}.json").write_text('{"pack_sha256": "other"}')


@pytest.mark.parametrize(
    ("overrides", "names", "message"),
    [
        ([], [], "params.yaml has no composition; add one, with the classes that the network is to tell apart"),
        (BOTH, ["fow"], "unknown composition 'fow', expected one of: few, best"),
        (
            [PARTS, "compositions={few: {of: [part]}}"],
            [],
            "expected a modularization (parts, more, unused)",
        ),
        (["compositions={few: {}}"], [], "compositions.few.of: Field required"),
        (["compositions={few: {of: []}}"], [], "of must be not empty, got ()"),
        ([PARTS, "compositions={few: {of: [parts], clases: [a]}}"], [], "did you mean 'compositions.few.classes'?"),
        (["compositions={digit-3: {of: [parts]}}"], [], "must have different names"),
    ],
)
def test_compositions_that_cannot_begin_are_one_line(
    server: None, project: Path, overrides: list[str], names: list[str], message: str
) -> None:
    state = run_compositions(overrides, None, names, return_state=True)
    assert state.is_failed() and message in str(state.message) and "\n" not in str(state.message)
    assert ran(project) == []


def test_the_short_form_writes_the_section(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: dict[str, Any] = {}

    def run_by_hand(
        root: Path, kind: Any, flow: str, overrides: list[str], file: Any, names: list[str], *_: Any
    ) -> int:
        from flows.preflight import settle_params

        settle_params(root, overrides)
        called.update(flow=flow, names=names)
        return 0

    monkeypatch.setattr("flows.commands.run.run_by_hand", run_by_hand)
    done = CliRunner().invoke(app, ["compose", "few", "--of", "parts,more", "--classes", "010,no,8", "--set", PARTS])
    assert done.exit_code == 0, done.output
    assert called == {"flow": "flows.compose:run_compositions", "names": ["few"]}
    entry = load_params(project / "params.yaml").compositions["few"]
    assert (entry.of, entry.classes) == (("parts", "more"), ("010", "no", "8"))
    nameless = CliRunner().invoke(app, ["compose", "--of", "parts"])
    assert nameless.exit_code != 0 and "expected a name with --of, got none" in str(nameless.exception)
