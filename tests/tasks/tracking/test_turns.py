"""One at a time at a registered model, behind a real server: also when somebody dies, or is not heard of."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from mlflow import MlflowClient

from seam.errors import NoAnswerError
from tasks.tracking import turns
from tasks.tracking.turns import QUEUE, turn
from tests.processes import exit_statuses


def client_of(uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def waiting(uri: str) -> list[str]:
    return [version.version for version in client_of(uri).search_model_versions(f"name = '{QUEUE}'")]


def take_and_die(uri: str, name: str) -> None:
    """Like kill -9 in the middle of a turn."""
    with turn(client_of(uri), uri, name):
        os.kill(os.getpid(), signal.SIGKILL)


def test_eight_at_once_take_turns(mlflow_server: str) -> None:
    inside, most = [], []

    def work(number: int) -> None:
        with turn(client_of(mlflow_server), mlflow_server, "model") as keep:
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.02)
            keep()
            inside.remove(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(16)))
    assert most == [1] * 16 and waiting(mlflow_server) == []


def test_turns_at_different_models_are_side_by_side(mlflow_server: str) -> None:
    with turn(client_of(mlflow_server), mlflow_server, "one"), turn(client_of(mlflow_server), mlflow_server, "two"):
        assert len(waiting(mlflow_server)) == 2


def test_the_turn_of_a_killed_process_ends_at_once(mlflow_server: str) -> None:
    assert exit_statuses([(take_and_die, (mlflow_server, "model"))]) == [-signal.SIGKILL]
    assert len(waiting(mlflow_server)) == 1
    began = time.monotonic()
    with turn(client_of(mlflow_server), mlflow_server, "model"):
        assert time.monotonic() - began < turns.LEASE / 2
    assert waiting(mlflow_server) == []


def test_a_machine_that_is_not_heard_of_is_passed_over_and_notices(
    mlflow_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be asked whether its process is alive; as long as it gives signs of life it keeps its turn."""
    elsewhere = {"seam.host": "elsewhere", "seam.machine": "m", "seam.pid": "1", "seam.process_start": "0"}
    monkeypatch.setattr(turns, "LEASE", 1.0)
    got = threading.Event()

    def wait() -> None:
        with turn(client_of(mlflow_server), mlflow_server, "model"):
            got.set()

    with monkeypatch.context() as patch:
        patch.setattr(turns, "owner_tags", lambda: elsewhere)
        held = turn(client_of(mlflow_server), mlflow_server, "model")
        keep = held.__enter__()
    other = threading.Thread(target=wait)
    other.start()
    for _ in range(6):
        time.sleep(0.4)
        keep()
    assert not got.is_set()
    other.join(20)
    assert got.is_set()
    with pytest.raises(NoAnswerError, match="nothing was heard of this process for 1 s, another one registers"):
        keep()
    held.__exit__(None, None, None)
    assert waiting(mlflow_server) == []
