"""The flow of patches, with stub stages: what they are made of first, only what is new, and the short form."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import flows.cli  # noqa: F401  the commands
from flows.app import app
from flows.patch import run_patches
from flows.stage_cache import shared_cache
from tasks.project.params import load_params
from tasks.project.subject import Subject, address_of
from tests.flows.ran import ran, task_states

PARTS = "modularizations={parts: {}, unused: {}}"
BOTH = [PARTS, 'patches={fix: {of: parts, class: "8"}, other: {of: parts, class: "3", weak: {epochs: 1}}}']


def made(name: str) -> list[str]:
    return [f"patch@{name}", f"register_patch@{name}"]


def test_modules_are_made_first_then_only_what_is_new_runs(server: None, project: Path) -> None:
    state = run_patches(BOTH, return_state=True)
    assert state.is_completed() and state.message == "2 of 2 patches done: fix, other."
    first = ["validate_data@None", "prepare_source@None"]
    assert ran(project) == [*first, "modularize@parts", *made("fix"), *made("other")]
    again = run_patches(return_state=True)
    assert ran(project) == [] and set(task_states(again).values()) == {"Cached"}
    assert run_patches(["patches.other.weak={epochs: 2}"], return_state=True).is_completed()
    assert ran(project) == made("other")
    assert run_patches(["modularizations.unused.method=decomposition"], return_state=True).is_completed()
    assert ran(project) == []
    (project / "artifacts/modularized/unused.json").write_text('{"pack_sha256": "another"}')
    assert run_patches(return_state=True).is_completed() and ran(project) == []
    parts = address_of("modularize", Subject("modularization", "parts"))
    shared_cache(project).run(parts, lambda: _exchange(project, "parts"))
    assert run_patches(return_state=True).is_completed() and ran(project) == [*made("fix"), *made("other")]


def _exchange(project: Path, name: str) -> None:
    """As the stage does where modules turn out otherwise."""
    (project / f"artifacts/modularized/{name}.json").write_text('{"pack_sha256": "other"}')


def test_modules_made_elsewhere_need_no_modularization(server: None, project: Path) -> None:
    (project / "packs").mkdir()
    state = run_patches(["patches={fix: {of: packs, class: a}}"], return_state=True)
    assert state.is_completed(), state.message
    assert ran(project)[-3:] == ["prepare_source@None", *made("fix")]
    shutil.rmtree(project / "packs")


@pytest.mark.parametrize(
    ("overrides", "names", "message"),
    [
        ([], [], "params.yaml has no patch; add one, with the class that the model is weak at: seam patch fix --of"),
        (BOTH, ["fit"], "unknown patch 'fit', expected one of: fix, other"),
        ([PARTS, "patches={fix: {of: part, class: a}}"], [], "expected a modularization (parts, unused) or a folder"),
        (["patches={fix: {of: parts}}"], [], "patches.fix.class: Field required"),
        (["patches={fix: {of: parts, clas: a}}"], [], "did you mean 'patches.fix.class'?"),
        (["patches={fix: {of: parts, class: ''}}"], [], "patches.fix.class: class must be not empty, got ''"),
        (["patches={fix: {of: parts, class: a, caution: -1}}"], [], "caution must be >= 0, got -1"),
    ],
)
def test_patches_that_cannot_begin_are_one_line(
    server: None, project: Path, overrides: list[str], names: list[str], message: str
) -> None:
    state = run_patches(overrides, None, names, return_state=True)
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
    asked = ["patch", "fix", "--of", "parts", "--class", "010", "--weak", "{epochs: 1}", "--set", PARTS]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert called == {"flow": "flows.patch:run_patches", "names": ["fix"]}
    entry = load_params(project / "params.yaml").patches["fix"]
    assert (entry.of, entry.class_, entry.weak) == ("parts", "010", {"epochs": 1})
    nameless = CliRunner().invoke(app, ["patch", "--of", "parts"])
    assert nameless.exit_code != 0 and "expected a name with --of, got none" in str(nameless.exception)
