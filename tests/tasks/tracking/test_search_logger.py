"""The rounds of a search in its run: each once, whatever is killed; a lost server costs one warning."""

from __future__ import annotations

import logging
import socket
from dataclasses import replace

import pytest
from mlflow import MlflowClient

from tasks.project.stage import StageContext
from tasks.tracking.runs import open_run
from tasks.tracking.search_logger import SearchLogger
from tasks.tracking.store import connect


def row(number: int) -> dict[str, float]:
    return {
        "round": number,
        "cross_entropy": 1.0 / (number + 1),
        "density": 1 - number / 10,
        "val_accuracy": number / 10,
    }


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def test_a_killed_and_resumed_search_logs_every_round_once(registry_project: StageContext) -> None:
    search = replace(registry_project, stage="search")
    with SearchLogger(search) as log:
        for i in range(3):
            log(row(i))
    client = connect(search.root)
    run_id = open_run(search, client)
    with SearchLogger(search) as log:  # the resumed one repeats the round of its checkpoint
        for i in range(2, 5):
            log(row(i))
    assert [m.step for m in client.get_metric_history(run_id, "search/history/cross_entropy")] == [0, 1, 2, 3, 4]
    assert client.get_run(run_id).info.status == "SCHEDULED"


def test_a_failed_search_is_failed(registry_project: StageContext) -> None:
    def fail() -> None:
        with SearchLogger(registry_project) as log:
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
    monkeypatch.setattr("tasks.tracking.search_logger.FLUSH_SECONDS", 0.0)
    log = SearchLogger(registry_project)
    log(row(0))

    def lost(*args: object, **kwargs: object) -> None:
        raise ConnectionError("gone")

    monkeypatch.setattr(MlflowClient, "log_batch", lost)
    with caplog.at_level(logging.WARNING, "tasks.tracking.search_logger"):
        for i in range(1, 5):
            log(row(i))
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "the search goes on" in caplog.text


def test_a_search_without_a_server_goes_on(
    registry_project: StageContext, monkeypatch: pytest.MonkeyPatch, closed_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{closed_port}")
    with SearchLogger(registry_project) as log:
        log(row(0))
    assert "does not answer" in caplog.text
