"""Runs are found again by their lineage, histories are logged once, lost servers cost one line."""

from __future__ import annotations

import logging
import multiprocessing
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from mlflow import MlflowClient

from seam.errors import TrackingError
from tasks.project.stage import StageContext
from tasks.tracking.runs import (
    check_server,
    connect,
    finish_run,
    lineage,
    log_history,
    open_experiment,
    open_run,
    search_logger,
    sweep_stale_runs,
)


def row(number: int) -> dict[str, float]:
    return {
        "round": number,
        "cross_entropy": 1.0 / (number + 1),
        "density": 1 - number / 10,
        "val_accuracy": number / 10,
    }


def with_params(context: StageContext, section: str, **changes: object) -> StageContext:
    params = context.params.model_copy(update={section: replace(getattr(context.params, section), **changes)})
    return replace(context, params=params)


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def test_a_resumed_run_is_the_same_run(registry_project: StageContext) -> None:
    client = connect(registry_project.root)
    first = open_run(registry_project, client)
    finish_run(client, first, "KILLED")
    assert open_run(replace(registry_project, stage="search")) == first
    assert client.get_run(first).info.status == "RUNNING"


def test_lineage_changes_with_what_shapes_the_result_only(registry_project: StageContext) -> None:
    digest, params = lineage(registry_project)
    assert params["search.alpha"] == "1.0"
    assert lineage(with_params(registry_project, "search", alpha=0.5))[0] != digest
    assert (
        lineage(replace(registry_project, params=registry_project.params.model_copy(update={"seed": 1})))[0] != digest
    )
    assert lineage(with_params(registry_project, "runtime", threads=2))[0] == digest
    registry_project.artifact("prepare_source", "source.safetensors").write_bytes(b"another source")
    assert lineage(registry_project)[0] != digest


def test_changed_params_are_another_run(registry_project: StageContext) -> None:
    assert open_run(registry_project) != open_run(with_params(registry_project, "search", alpha=0.5))


def test_history_is_logged_once(registry_project: StageContext) -> None:
    client = connect(registry_project.root)
    run_id = open_run(registry_project, client)
    log_history(client, run_id, [row(0), row(2)])
    log_history(client, run_id, [row(i) for i in range(4)])
    log_history(client, run_id, [row(i) for i in range(4)])
    found = client.get_metric_history(run_id, "search/density")
    assert sorted((m.step, m.value) for m in found) == [
        (0, 1.0),
        (1, 0.9),
        (2, 0.8),
        (3, 0.7),
    ]  # the gap at 1 is filled


def test_a_killed_and_resumed_search_logs_every_round_once(registry_project: StageContext) -> None:
    search = replace(registry_project, stage="search")
    with search_logger(search) as log:
        for i in range(3):
            log(row(i))
    client = connect(search.root)
    run_id = open_run(search, client)
    with search_logger(search) as log:  # the resumed one repeats the round of its checkpoint
        for i in range(2, 5):
            log(row(i))
    assert [m.step for m in client.get_metric_history(run_id, "search/cross_entropy")] == [0, 1, 2, 3, 4]
    assert client.get_run(run_id).info.status == "SCHEDULED"


def test_a_failed_search_is_failed(registry_project: StageContext) -> None:
    def fail() -> None:
        with search_logger(registry_project) as log:
            log(row(0))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    client = connect(registry_project.root)
    (run,) = client.search_runs([client.get_experiment_by_name("seam").experiment_id])
    assert run.info.status == "FAILED"


def test_a_store_lost_in_the_middle_costs_one_warning(
    registry_project: StageContext, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tasks.tracking.runs.FLUSH_SECONDS", 0.0)
    log = search_logger(registry_project)
    log(row(0))

    def lost(*args: object, **kwargs: object) -> None:
        raise ConnectionError("gone")

    monkeypatch.setattr(MlflowClient, "log_batch", lost)
    with caplog.at_level(logging.WARNING, "tasks.tracking.runs"):
        for i in range(1, 5):
            log(row(i))
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "the search goes on" in caplog.text


def test_a_search_without_a_server_goes_on(
    registry_project: StageContext, monkeypatch: pytest.MonkeyPatch, closed_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{closed_port}")
    with search_logger(registry_project) as log:
        log(row(0))
    assert "does not answer" in caplog.text


def test_runs_of_dead_processes_are_killed_those_of_living_ones_are_not(registry_project: StageContext) -> None:
    client = connect(registry_project.root)
    dead, living = (
        open_run(registry_project, client),
        open_run(with_params(registry_project, "search", alpha=0.5), client),
    )
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    client.set_tag(dead, "seam.pid", child.pid)
    assert sweep_stale_runs(registry_project.root) == [dead]
    assert client.get_run(dead).info.status == "KILLED"
    assert client.get_run(living).info.status == "RUNNING"
    client.set_tag(living, "seam.process_start", 1.0)  # the number of the process was given to another
    assert sweep_stale_runs(registry_project.root) == [living]


def test_runs_of_another_host_are_left_alone(registry_project: StageContext) -> None:
    client = connect(registry_project.root)
    run_id = open_run(registry_project, client)
    client.set_tag(run_id, "seam.host", "elsewhere")
    client.set_tag(run_id, "seam.pid", 2**22 + 1)
    assert sweep_stale_runs(registry_project.root) == []


def test_nothing_to_sweep_in_a_new_store(
    other_registry_project: Callable[[str], StageContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert sweep_stale_runs(other_registry_project("new").root) == []


def test_an_unreachable_server_is_one_line(closed_port: int) -> None:
    with pytest.raises(TrackingError) as caught:
        check_server(f"http://user:secret@127.0.0.1:{closed_port}")
    assert str(caught.value).startswith(f"MLflow server at http://***@127.0.0.1:{closed_port} does not answer (")
    assert str(caught.value).endswith("start it or unset MLFLOW_TRACKING_URI.")
    assert "secret" not in str(caught.value)


def test_a_server_that_is_not_mlflow_is_one_line() -> None:
    class NotFound(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), NotFound) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(TrackingError, match="/health gives 404"):
            check_server(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()


def test_a_store_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"not a database, " * 100)
    with pytest.raises(TrackingError, match="cannot be used"):
        check_server(f"sqlite:///{tmp_path / 'mlflow.db'}")


def test_several_processes_may_open_a_new_store_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    fork = multiprocessing.get_context("fork")  # spawned ones would each import MLflow again
    processes = [fork.Process(target=_open, args=(tmp_path,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]


def _open(root: Path) -> None:
    open_experiment(connect(root), root, "seam")
