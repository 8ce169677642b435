"""What one machine computed is valid on another, with stub stages: a clone pulls and has nothing to do.

Times stay with the machine they were taken on until somebody asks for those of this one.
"""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from flows.commands.status import show_status
from flows.pipeline import run_pipeline
from flows.stage_cache import shared_cache
from tests.flows.dvc_command import dvc
from tests.flows.ran import ran

PROBLEMS = ("digit-3", "low-digits")
REMOTE = "[core]\n    remote = team\n['remote \"team\"']\n    url = {}\n"


def plant(monkeypatch: pytest.MonkeyPatch, cpu: str) -> None:
    """Have this process run on another machine."""
    monkeypatch.setattr("tasks.project.timed.here", lambda: {"cpu": cpu, "cores": 2, "gpu": None})


def cloned(project: Path, clone: Path) -> Path:
    """Another clone of the project with the results pushed and pulled."""
    (project / ".dvc/config").write_text(REMOTE.format(project.parent / "team"))
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.invalid"]
    (project / "ran.txt").unlink(missing_ok=True)
    for command in (["add", "-A"], ["commit", "-q", "-m", "results"], ["clone", "-q", str(project), str(clone)]):
        subprocess.run([*git, *command], cwd=project, check=True)
    dvc(project, "push")
    dvc(clone, "pull")
    return clone


def status_text(root: Path) -> str:
    console = Console(record=True, width=300, file=io.StringIO())
    show_status(root, [], console)
    return console.export_text()


def test_another_machine_pulls_and_has_nothing_to_do(
    server: None, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, "one CPU")
    assert run_pipeline(return_state=True).is_completed()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/mlflow/mlflow.db")  # the team's registry
    clone = cloned(project, tmp_path / "clone")
    locks = {path: path.read_bytes() for path in clone.rglob("dvc.lock")}
    assert len(locks) == 1 + len(PROBLEMS)
    monkeypatch.chdir(clone)
    shared_cache.cache_clear()
    plant(monkeypatch, "another CPU")
    assert run_pipeline(return_state=True).is_completed() and ran(clone) == []
    assert "up to date" in dvc(clone, "status") and {path: path.read_bytes() for path in locks} == locks
    shown = status_text(clone)
    assert "stale" not in shown and "times of one CPU, 2 cores, no GPU; seam run --here takes them anew" in shown

    assert run_pipeline(here=True, return_state=True).is_completed()
    assert ran(clone) == [f"{stage}@{p}" for p in PROBLEMS for stage in ("benchmark_latency", "register_model")]
    assert "up to date" in dvc(clone, "status") and "one CPU" not in status_text(clone)
    assert run_pipeline(here=True, return_state=True).is_completed() and ran(clone) == []
