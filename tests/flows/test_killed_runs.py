"""Runs whose process was killed are ended at the next start, whoever started them; others are left alone."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.states import Cancelling, Running

from flows import preflight
from flows.pipeline import run_pipeline
from flows.registry_view import has_running_runs
from flows.run_page import process_tags
from tasks.project.process import this_machine
from tests.flows.ran import ran


def tags_of_a_process_that_ended() -> list[str]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = psutil.Process(process.pid).create_time()
    process.communicate()
    return [f"host:{socket.gethostname()}", f"process:{process.pid}:{started:.0f}:{this_machine()}"]


def test_runs_in_prefect_are_ended_and_ones_own_is_marked(server: None, project: Path) -> None:
    gone = tags_of_a_process_that_ended()
    elsewhere = gone[1].replace(this_machine(), "0" * 12)
    runs: dict[str, tuple[list[str], State[Any]]] = {
        "dead": (["seam", *gone], Running()),
        "dead, to be cancelled": (gone, Cancelling()),
        "dead, of an older version": ([gone[0], gone[1].removesuffix(f":{this_machine()}")], Running()),
        "alive": (process_tags(), Running()),
        "of another host": (["host:none", gone[1]], Running()),
        "of another machine of that name": ([gone[0], elsewhere], Running()),
        "of another flow": (["seam"], Running()),
    }
    with get_client(sync_client=True) as client:
        made = {
            name: client.create_flow_run(run_pipeline, tags=tags, state=state).id
            for name, (tags, state) in runs.items()
        }
        state = run_pipeline(problems=["digit-3"], return_state=True)
        assert state.is_completed(), state.message
        found = {name: client.read_flow_run(run).state.type.value for name, run in made.items()}
        own = client.read_flow_run(state.state_details.flow_run_id)
    ended = {"dead": "CRASHED", "dead, to be cancelled": "CANCELLED", "dead, of an older version": "CRASHED"}
    assert found == dict.fromkeys(runs, "RUNNING") | ended
    assert set(process_tags()) <= set(own.tags)


def test_a_run_left_running_in_mlflow_is_seen_without_importing_it(empty_mlflow_store: Path, tmp_path: Path) -> None:
    uri = f"sqlite:///{shutil.copy(empty_mlflow_store, tmp_path)}"
    client = MlflowClient(uri)
    assert not has_running_runs(uri, "seam")
    run = client.create_run(client.create_experiment("seam"))
    assert has_running_runs(uri, "seam") and not has_running_runs(uri, "other")
    client.set_terminated(run.info.run_id, "KILLED")
    assert not has_running_runs(uri, "seam")
    assert not has_running_runs(f"sqlite:///{tmp_path}/none.db", "seam")
    assert not has_running_runs("http://127.0.0.1:9", "seam")


def test_a_run_left_running_in_mlflow_is_ended_though_nothing_is_stale(
    server: None, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_pipeline(return_state=True).is_completed() and ran(project)
    looked: list[Path] = []
    monkeypatch.setattr(preflight, "_check_tracking", lambda root, _: looked.append(root))
    assert run_pipeline(return_state=True).is_completed() and looked == []
    monkeypatch.setattr(preflight, "has_running_runs", lambda uri, experiment: experiment == "seam")
    assert run_pipeline(return_state=True).is_completed() and looked == [project] and ran(project) == []
