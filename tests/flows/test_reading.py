"""Reading the state waits for no writer: DVC's lock, stages that are reserved, a registry that is written to."""

from __future__ import annotations

import io
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from flows.commands.report import existing_reports
from flows.commands.status import show_status
from flows.stage_cache import StageCache, shared_cache
from seam.errors import CacheError
from tasks.project.change_params import change_params
from tasks.project.params import load_params
from tasks.project.stages import PROBLEM
from tasks.project.subject import address_of, chosen, runs_of

_HOLDS = """
from dvc.repo import Repo, lock_repo
with Repo() as repo, lock_repo(repo):
    print("held", flush=True)
    input()
"""


@contextmanager
def written_to(project: Path) -> Iterator[None]:
    """Another process holds DVC's lock, has every stage reserved, and this one has MLflow's database locked."""
    command = [sys.executable, "-c", _HOLDS]
    with (
        subprocess.Popen(command, cwd=project, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer,
        closing(sqlite3.connect(project / "mlflow/mlflow.db")) as database,
    ):
        assert writer.stdin is not None and writer.stdout is not None
        assert writer.stdout.readline() == "held\n"
        outputs = {
            str(path): {"pid": writer.pid, "cmd": "seam run"} for path in (project / "artifacts").rglob("*.json")
        }
        (project / ".dvc/tmp/rwlock").write_text(json.dumps({"write": outputs, "read": {}}))
        database.execute("PRAGMA locking_mode=EXCLUSIVE")
        database.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            (project / ".dvc/tmp/rwlock").unlink()
            writer.stdin.write("\n")
            writer.stdin.flush()


@pytest.mark.parametrize("edit", [[], ["search.alpha=0.5"]])
def test_status_and_report_answer_while_others_write(done: Path, edit: list[str]) -> None:
    """Also where DVC has to be asked, after an edit, and in a process that knows nothing yet."""
    change_params(done / "params.yaml", edit)
    shared_cache.cache_clear()
    (done / ".dvc/tmp/found_current.json").unlink()
    console = Console(record=True, width=200, file=io.StringIO())
    with written_to(done):
        show_status(done, [], console)
        reports = existing_reports(done, {PROBLEM.name: []})
        with pytest.raises(CacheError, match="DVC is busy"):  # what writes does wait, and says so
            StageCache(done).restore(address_of("search", chosen(load_params(done / "params.yaml"), PROBLEM)[0]))
    shown = console.export_text()
    params = load_params(done / "params.yaml")
    stages = runs_of(params, PROBLEM, chosen(params, PROBLEM))
    assert shown.count("running") == len(stages) and len(reports) == 2
    assert ("search modified" in shown or "search.alpha modified" in shown) == bool(edit)
    assert "seam-digit-3" in shown
