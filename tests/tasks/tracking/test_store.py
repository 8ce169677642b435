"""A fresh store that four processes open at once, each a real one."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from tasks.tracking.store import connect


def test_four_processes_make_the_tables_of_a_fresh_sqlite_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)

    def open_store() -> None:
        barrier.wait()
        connect(tmp_path)

    processes = [context.Process(target=open_store) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 4
    assert (tmp_path / "mlflow/mlflow.db").is_file()
