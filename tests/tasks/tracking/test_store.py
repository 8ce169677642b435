"""A fresh store: opened by four processes at once, each a real one, and by one that is killed."""

from __future__ import annotations

import multiprocessing
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.store.db.base_sql_model import Base
from sqlalchemy import create_engine

from seam.errors import NoAnswerError, TrackingError
from tasks.tracking.store import connect, tracking_errors
from tasks.tracking.tables import make_tables
from tests.processes import exit_statuses


def test_four_processes_make_the_tables_of_a_fresh_sqlite_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert exit_statuses([(connect, (tmp_path,))] * 4) == [0] * 4
    assert (tmp_path / "mlflow/mlflow.db").is_file()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow").mkdir()
    return tmp_path


def works(client: MlflowClient) -> bool:
    run = client.create_run("0")
    return [found.info.run_id for found in client.search_runs(["0"])] == [run.info.run_id]


def test_a_process_that_is_killed_while_it_makes_the_tables_leaves_none(root: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=connect, args=(root,))
    process.start()
    partial = root / "mlflow/mlflow.db.partial"
    while not (partial.is_file() and partial.stat().st_size > 50_000):
        assert process.is_alive()
    process.kill()
    process.join()
    with closing(sqlite3.connect(root / "mlflow/mlflow.db")) as connection:
        assert connection.execute("SELECT * FROM sqlite_master").fetchall() == []
    assert works(connect(root))
    assert sorted(path.name for path in (root / "mlflow").iterdir()) == ["mlflow.db", "mlflow.db.lock"]


def test_a_store_with_some_of_its_tables_and_nothing_in_them_is_made_anew(root: Path) -> None:
    database = root / "mlflow/mlflow.db"
    Base.metadata.create_all(create_engine(f"sqlite:///{database}"), [Base.metadata.tables["experiments"]])
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE secrets (half INTEGER)")
    assert works(connect(root))


def test_a_store_that_cannot_be_written_says_why(root: Path) -> None:
    connect(root)
    uri = f"sqlite:///{root / 'mlflow/mlflow.db'}"
    with pytest.raises(TrackingError, match="failed: it is read-only") as shut, tracking_errors(uri):
        MlflowClient(f"sqlite:///file:{root / 'mlflow/mlflow.db'}?mode=ro&uri=true").create_experiment("more")
    assert not isinstance(shut.value, NoAnswerError)


def test_a_store_that_holds_something_and_a_database_of_something_else_stay(root: Path) -> None:
    database = root / "mlflow/mlflow.db"
    assert works(connect(root))
    other = root / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE books (title TEXT)")
    for kept in (database, other):
        before = kept.read_bytes()
        make_tables(kept)
        assert kept.read_bytes() == before
