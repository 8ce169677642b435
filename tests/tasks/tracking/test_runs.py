"""Runs are found again by their lineage, those of dead processes are ended, lost servers cost one line."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from mlflow.entities import Metric, Param, RunTag

from seam.errors import TrackingError
from tasks.project.stage import StageContext
from tasks.tracking.runs import finish_run, finished_run, kill_own_runs, lineage, open_run, sweep_stale_runs
from tasks.tracking.store import check_server, connect


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


def test_a_batch_may_be_larger_than_what_mlflow_takes(registry_project: StageContext) -> None:
    client = connect(registry_project.root)
    run_id = open_run(registry_project, client)
    before = client.get_run(run_id).data
    params, tags = [Param(f"p{i}", str(i)) for i in range(201)], [RunTag(f"t{i}", str(i)) for i in range(150)]
    client.log_batch(run_id, [Metric("m", 0.5, 0, 0)], params, tags)
    after = client.get_run(run_id).data
    assert after.params == before.params | {f"p{i}": str(i) for i in range(201)}
    assert after.tags == before.tags | {f"t{i}": str(i) for i in range(150)}
    assert after.metrics == before.metrics | {"m": 0.5}


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


def test_runs_of_another_machine_of_the_same_name_are_left_alone(registry_project: StageContext) -> None:
    client = connect(registry_project.root)
    run_id = open_run(registry_project, client)
    client.set_tag(run_id, "seam.machine", "elsewhere")
    client.set_tag(run_id, "seam.pid", 2**22 + 1)
    assert sweep_stale_runs(registry_project.root) == []


def test_a_process_that_is_told_to_stop_ends_what_it_began(registry_project: StageContext) -> None:
    client = connect(registry_project.root)
    own, waiting, done, of_another = (
        open_run(with_params(registry_project, "search", alpha=alpha), client) for alpha in (1.0, 2.0, 3.0, 4.0)
    )
    client.update_run(waiting, status="SCHEDULED")
    finish_run(client, done)
    client.set_tag(of_another, "seam.process_start", 1.0)
    assert set(kill_own_runs(registry_project.root)) == {own, waiting}
    found = [client.get_run(run).info.status for run in (own, waiting, done, of_another)]
    assert found == ["KILLED", "KILLED", "FINISHED", "RUNNING"]


@pytest.mark.parametrize(("error", "status"), [(RuntimeError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_run_ends_as_its_stage_did(registry_project: StageContext, error: type[BaseException], status: str) -> None:
    with pytest.raises(error), finished_run(registry_project) as (client, run_id):
        raise error
    assert client.get_run(run_id).info.status == status


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
    code = f"""
from pathlib import Path
from tasks.tracking.experiments import open_experiment
from tasks.tracking.store import connect
root = Path({str(tmp_path)!r})
open_experiment(connect(root), root, "seam")
"""
    command = [sys.executable, "-c", code]
    processes = [
        subprocess.Popen(command, cwd=Path(__file__).parents[3], stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], errors
