"""`seam run --everything`, with stub stages: every kind that the parameters name, in one flow, and nothing twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import flows.cli  # noqa: F401  the commands
from flows.app import app
from seam.errors import ConfigError
from tests.flows.ran import ran

Run = Callable[..., Result]
PARTS = "modularizations={parts: {}}"
FEW = 'compositions={few: {of: [parts], classes: ["3", "8"]}}'


@pytest.fixture
def run(server: None, project: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command, beside a server that is there already; figures, which stub stages have none of, are not shown."""
    import prefect.settings

    monkeypatch.setattr("flows.commands.run.show_closing", lambda *_, finished: None)
    monkeypatch.setenv("PREFECT_API_URL", str(prefect.settings.PREFECT_API_URL.value()))
    return lambda *words: CliRunner().invoke(app, ["run", *words])


def test_all_that_is_named_is_run_once_and_its_next_commands_are_shown(run: Run, project: Path) -> None:
    done = run("--everything", "--set", PARTS, "--set", FEW)
    assert done.exit_code == 0, done.output
    once = ran(project)
    assert len(once) == len(set(once)) and once[-3:] == ["modularize@parts", "compose@few", "register_composition@few"]
    assert any(stage.startswith("register_model@") for stage in once)
    assert sum("validate_data" in line for line in done.output.splitlines()) == 1
    for command in ("seam serve --problem", "seam report --modularization parts", "seam report --composition few"):
        assert command in done.output
    assert run("--everything").exit_code == 0 and ran(project) == []
    assert run().exit_code == 0 and ran(project) == []


def test_what_a_run_of_the_problems_leaves_out(run: Run, project: Path) -> None:
    assert run("--set", PARTS, "--set", FEW).exit_code == 0
    assert not [stage for stage in ran(project) if stage.endswith(("@parts", "@few"))]
    assert run("--everything").exit_code == 0
    assert ran(project) == ["modularize@parts", "compose@few", "register_composition@few"]


def test_everything_and_one_problem_contradict(run: Run, project: Path) -> None:
    done = run("--everything", "--problem", "shirt")
    assert isinstance(done.exception, ConfigError) and "give one of them" in str(done.exception)
    assert ran(project) == []
