"""A run that is cancelled in whatever stage is gone within 10 s, leaves nothing behind, and the next one continues."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from tests.flows import operators
from tests.flows.small_project import PROBLEM, make_small_project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LIMIT = 10.0
LONG = [
    "evaluate_robustness.steps=100000",
    "benchmark_latency.engines=[deepsparse]",
    "benchmark_latency.repeats=1000000",
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_project(tmp_path_factory.mktemp("stopping") / "project")


@pytest.fixture(scope="module")
def api(project: Path) -> Iterator[str]:
    with operators.worker(project, operators.environment(project.parent), project.parent) as api:
        yield api


def start(api: str, overrides: list[str]) -> str:
    """Have the worker run everything; the run's id."""
    made = operators.made(api, "seam-run/nightly", overrides=overrides)
    assert made.is_success, made.text
    return str(made.json()["id"])


def processes_of(api: str, run: str) -> list[psutil.Process]:
    """The one that runs it, and those that it started; none before it has said which it is."""
    tags = operators.flow_run(api, run)["tags"]
    said = [psutil.Process(int(tag.split(":")[1])) for tag in tags if tag.startswith("process:")]
    return [*said, *(child for process in said for child in process.children(recursive=True))]


def is_running(api: str, run: str, stage: str) -> bool:
    """Whether it is in this stage."""
    named = {"name": {"any_": [f"{stage} [{PROBLEM}]"]}, "state": {"type": {"any_": ["RUNNING"]}}}
    return bool(operators.asked(api, "task_runs", task_runs={"flow_run_id": {"any_": [run]}, **named}))


def in_engine(api: str, run: str) -> bool:
    """Whether it is timing in a process of an engine's own."""
    try:
        return any("seam.inference.isolated" in process.cmdline() for process in processes_of(api, run))
    except psutil.Error:
        return False


def cancelled(api: str, run: str, when: Callable[[], bool], logs: Path) -> float:
    """Cancel a run at some moment; seconds until all of its processes are gone and it says so."""

    def reached() -> bool:
        state = operators.state_of(api, run)
        assert state["type"] in ("SCHEDULED", "PENDING", "RUNNING"), state
        return state["type"] == "RUNNING" and when()

    operators.wait_for(reached, 240, "the moment to cancel", logs, every=0.1)
    processes = processes_of(api, run)
    assert processes
    begun = time.monotonic()
    asked = operators.client(api).post(f"/flow_runs/{run}/set_state", json={"state": {"type": "CANCELLING"}})
    assert asked.is_success, asked.text
    _, alive = psutil.wait_procs(processes, timeout=30)
    gone = time.monotonic() - begun
    operators.wait_for(lambda: operators.state_of(api, run)["type"] == "CANCELLED", 30, "CANCELLED", logs, every=0.1)
    print(f"processes gone after {gone:.1f} s, cancelled after {time.monotonic() - begun:.1f} s")
    assert not alive
    return gone


def mlflow_runs(project: Path) -> list[str]:
    client = MlflowClient(f"sqlite:///{project}/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("seam")
    return sorted(run.info.status for run in client.search_runs([experiment.experiment_id]))


def test_a_run_is_cancelled_in_every_stage_and_the_next_one_goes_on(project: Path, api: str) -> None:
    logs, made = project.parent, project / "artifacts" / PROBLEM
    moments: list[tuple[list[str], Callable[[str], bool]]] = [
        (LONG, lambda run: (made / "search.partial/checkpoint.safetensors").is_file()),
        (LONG, lambda run: is_running(api, run, "evaluate_robustness")),
        ([*LONG[1:], "evaluate_robustness.steps=5"], lambda run: in_engine(api, run)),
    ]
    for overrides, moment in moments:
        run = start(api, overrides)
        assert cancelled(api, run, partial(moment, run), logs) < LIMIT
        assert mlflow_runs(project) == ["KILLED"]
        for published in made.glob("*/*.json"):
            json.loads(published.read_text())  # whatever is published is whole
        assert not list(project.rglob("*.tmp"))
    run = start(api, ["benchmark_latency.repeats=10"])
    operators.wait_for(
        lambda: operators.state_of(api, run)["type"] in ("COMPLETED", "FAILED", "CRASHED"), 240, "the end", logs
    )
    assert operators.state_of(api, run)["type"] == "COMPLETED", operators.state_of(api, run)
    assert mlflow_runs(project) == ["FINISHED", "KILLED"]  # the last had other parameters
    tasks = operators.asked(api, "task_runs", task_runs={"flow_run_id": {"any_": [run]}})
    assert {task["name"]: task["state"]["name"] for task in tasks}[f"search [{PROBLEM}]"] == "Cached"
