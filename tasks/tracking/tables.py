"""The tables of a local MLflow store: all of them or none, whenever their making is ended."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from mlflow.store.db.utils import _initialize_tables
from sqlalchemy import NullPool, create_engine

_HOLD = ("experiments", "runs", "registered_models")
"""Tables of what a store is for; MLflow writes its first experiment once all tables are there."""


def make_tables(database: Path) -> None:
    """Make them beside the file, and put them in its place in one step, where it is not there or holds nothing yet.

    MLflow makes them one by one, in place, and refuses a store with some of them for good.

    Args:
        database: of SQLite, or nothing yet; nobody else makes its tables at this moment.

    Raises:
        sqlite3.Error: it is no database.
    """
    if not _holds_nothing(database):
        return
    new = database.with_name(f"{database.name}.partial")
    for left in (new, new.with_name(f"{new.name}-journal")):
        left.unlink(missing_ok=True)
    engine = create_engine(f"sqlite:///{new}", poolclass=NullPool)
    _initialize_tables(engine)  # type: ignore[no-untyped-call]
    engine.dispose()
    new.replace(database)


def _holds_nothing(database: Path) -> bool:
    """Of a store of MLflow's; a database of something else is left to MLflow to refuse.

    Reading it takes back what a process that was killed had begun to write.
    """
    with closing(sqlite3.connect(database, timeout=10)) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if names and "experiments" not in names:
            return False
        return not any(connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in names & {*_HOLD})
