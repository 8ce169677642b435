"""The MLflow store: where it is, whether it answers, its errors in one line."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import requests
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.async_logging.run_operations import RunOperations
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from seam.errors import NoAnswerError, TrackingError
from tasks.project.environment import tracking_uri
from tasks.project.machine import why_not
from tasks.tracking.tables import make_tables

SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # by default a lost server blocks every call for four minutes
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Of the client, unless the user set them."""
EXIF = "exif"
"""In the metadata of a model: what is done about an EXIF orientation, where that is not `ignore`."""
LOST = (MlflowException, requests.RequestException, SQLAlchemyError, sqlite3.Error, OSError)
"""What a client raises when its store fails."""
_LOCK = 7_326
"""Number of the lock that processes hold in a PostgreSQL store that they open themselves."""
_TRIES = 4
_RACED = ("UniqueViolation", "UNIQUE constraint failed", "Duplicate entry")
"""Of PostgreSQL, SQLite, MySQL."""
_Result = TypeVar("_Result")
_MOST = 100
"""Parameters, and tags, that MLflow takes in one batch."""


class Client(MlflowClient):
    """MLflow's, with batches of any size."""

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Sequence[Param] = (),
        tags: Sequence[RunTag] = (),
        synchronous: bool | None = None,
    ) -> RunOperations | None:
        """As many parameters and tags at a time as MLflow takes; metrics go with the first."""
        done = super().log_batch(run_id, metrics, params[:_MOST], tags[:_MOST], synchronous)
        for i in range(_MOST, max(len(params), len(tags)), _MOST):
            done = super().log_batch(run_id, (), params[i : i + _MOST], tags[i : i + _MOST], synchronous)
        return done


def check_server(uri: str, timeout: float = 3.0) -> None:
    """Raise a TrackingError within seconds unless the tracking store at `uri` can be used."""
    if uri.startswith(("http://", "https://")):
        try:
            answer = requests.get(f"{uri.rstrip('/')}/health", timeout=timeout)
        except requests.RequestException as e:
            raise _unreachable(uri, type(e).__name__) from e
        if answer.status_code >= 400 and answer.status_code not in (401, 403):
            raise _unreachable(uri, f"/health gives {answer.status_code}")
    elif (database := sqlite_file(uri)) is not None:
        _check_sqlite(uri, database)


def connect(root: Path) -> MlflowClient:
    """A client of the project's tracking store, checked.

    Raises:
        TrackingError: the store cannot be used.
    """
    uri = tracking_uri(root)
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    check_server(uri)
    database = sqlite_file(uri)
    with tracking_errors(uri), locked(uri):  # four processes that create the same tables at once crash
        if database is not None:
            make_tables(database)
        client = Client(tracking_uri=uri, registry_uri=uri)
        client.search_experiments(max_results=1)
    return client


@contextmanager
def tracking_errors(uri: str) -> Iterator[None]:
    """Turn what MLflow and its stores raise into a TrackingError of one line."""
    try:
        yield
    except LOST as e:
        if isinstance(e, OSError) and not isinstance(e, requests.RequestException):
            raise  # the machine's fault (a full disk), named by the stage
        why = _no_database(e)
        kind = NoAnswerError if _may_pass(e) and why is None else TrackingError
        raise kind(f"MLflow at {shown(uri)} failed: {why or one_line(e)}") from e


def _no_database(error: BaseException) -> str | None:
    """Why the machine did not let SQLite work, which MLflow and SQLAlchemy wrapped; None: it was something else."""
    while (inner := getattr(error, "orig", None) or error.__cause__) is not None:
        error = inner
    return why_not(error) if isinstance(error, sqlite3.Error) else None


def _may_pass(error: Exception) -> bool:
    """Whether the store was not there, rather than said no."""
    if isinstance(error, MlflowException):
        return int(error.get_http_status_code()) >= 500  # type: ignore[no-untyped-call]
    return isinstance(error, (requests.RequestException, OperationalError))


def unless_raced(call: Callable[[], _Result]) -> _Result:
    """What `call` gives, which may be called again: a store refuses the row that another process wrote just before."""
    for left in reversed(range(_TRIES)):
        try:
            return call()
        except MlflowException as e:
            if not left or not any(words in str(e) for words in _RACED):
                raise
            time.sleep(0.2)
    raise AssertionError("a try is the last")


def shown(uri: str) -> str:
    """The address without a password."""
    parts = urlsplit(uri)
    return uri.replace(f"{parts.username or ''}:{parts.password}@", "***@") if parts.password else uri


def one_line(error: BaseException, most: int = 300) -> str:
    """An error's text on one line, shortened."""
    return " ".join(str(error).split())[:most] or type(error).__name__


def _unreachable(uri: str, why: str) -> NoAnswerError:
    return NoAnswerError(
        f"MLflow server at {shown(uri)} does not answer ({why}); start it or unset MLFLOW_TRACKING_URI."
    )


def sqlite_file(uri: str) -> Path | None:
    """The database file of a local store; None for any other."""
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]).absolute() if uri.startswith("sqlite:///") else None


def _check_sqlite(uri: str, database: Path) -> None:
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(database, timeout=10)) as connection:
            connection.execute("PRAGMA schema_version").fetchone()
    except (sqlite3.Error, OSError) as e:
        raise TrackingError(
            f"MLflow store {shown(uri)} cannot be used ({why_not(e) or one_line(e)}); repair or remove the file, or set"
            " MLFLOW_TRACKING_URI."
        ) from e


@contextmanager
def locked(uri: str) -> Iterator[None]:
    """One process at a time, for a store that is opened without a server, which looks after itself."""
    database = sqlite_file(uri)
    if uri.startswith("postgresql"):
        with closing(create_engine(uri, poolclass=NullPool).connect()) as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
            yield
        return
    if database is None:
        yield
        return
    with database.with_name(f"{database.name}.lock").open("w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield
