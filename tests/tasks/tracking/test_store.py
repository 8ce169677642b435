"""A fresh store that four processes open at once, each a real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.tracking.store import connect
from tests.processes import exit_statuses


def test_four_processes_make_the_tables_of_a_fresh_sqlite_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert exit_statuses([(connect, (tmp_path,))] * 4) == [0] * 4
    assert (tmp_path / "mlflow/mlflow.db").is_file()
