"""`seam serve`: which model it becomes the server of, where that listens, and what a request may hold."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import flows.cli  # noqa: F401  the commands
from flows.app import app
from tasks.serving.__main__ import parse
from tasks.serving.asked import Limits
from tests.defaults import write_params


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the process would have become, in a project whose registry cannot be looked into."""
    found: list[list[str]] = []
    write_params(tmp_path / "params.yaml")
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://host.invalid/db")
    monkeypatch.setattr(os, "execv", lambda program, command: found.append([program, *command]))
    return found


def served(commands: list[list[str]], *arguments: str) -> Any:
    done = CliRunner().invoke(app, ["serve", *arguments])
    assert done.exit_code == 0, done.output
    ((program, name, *rest),) = commands
    assert (program, name, rest[:2]) == (sys.executable, sys.executable, ["-m", "tasks.serving"])
    return parse(rest[2:])


def test_this_machine_alone_unless_told_otherwise(commands: list[list[str]]) -> None:
    given = served(commands, "--problem", "digit-0")
    assert given.model == "models:/seam-digit-0@champion"
    assert (given.host, given.port) == ("127.0.0.1", 5001)
    assert Limits(round(given.max_megabytes * 1e6), given.max_images) == Limits()
    assert os.environ["MLFLOW_TRACKING_URI"] == "postgresql://host.invalid/db"


def test_what_is_asked_for_reaches_the_server(commands: list[list[str]]) -> None:
    asked = ["--host", "0.0.0.0", "--port", "8080", "--max-megabytes", "0.5", "--max-images", "7"]
    given = served(commands, "--problem", "low-digits", *asked)
    assert (given.host, given.port, given.max_megabytes, given.max_images) == ("0.0.0.0", 8080, 0.5, 7)


def test_the_help_says_the_limits_there_are(commands: list[list[str]]) -> None:
    text = " ".join(CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200"}).output.split())
    assert f"{Limits().body_bytes / 1e6:g} unless given" in text and f"{Limits().images} unless given" in text
