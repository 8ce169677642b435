"""Runs in MLflow: one for each subject, found again by its lineage; models are in `tasks.tracking.versions`.

Every call names its run (`MlflowClient`; the fluent API's active run is thread-local and leaves
stray runs).
"""

from __future__ import annotations

import hashlib
import json
import logging
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

import psutil
from mlflow import MlflowClient
from mlflow.entities import Experiment, Metric, Param, Run, RunTag

from seam.errors import TrackingError
from seam.files import sha256_file
from tasks.project.environment import tracking_uri
from tasks.project.stage import StageContext
from tasks.tracking.store import LOST, check_server, connect, locked, one_line, shown, sqlite_file, tracking_errors

__all__ = [
    "SearchLogger",
    "check_server",
    "connect",
    "finish_run",
    "lineage",
    "log_history",
    "log_metrics",
    "open_experiment",
    "open_run",
    "run_tags",
    "search_logger",
    "sweep_stale_runs",
]

logger = logging.getLogger(__name__)

LINEAGE = "seam.lineage"
HISTORY = ("cross_entropy", "density", "val_accuracy")
FLUSH_SECONDS = 5.0


def open_experiment(client: MlflowClient, root: Path, name: str) -> Experiment:
    """The experiment called `name`, created when there is none.

    A local store keeps its artifacts beside its database.
    """
    uri = tracking_uri(root)
    database = sqlite_file(uri)
    location = (database.parent / "artifacts").as_uri() if database else None
    with locked(uri), tracking_errors(uri):
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            return client.get_experiment(client.create_experiment(name, artifact_location=location))
    if experiment.lifecycle_stage != "active":
        raise TrackingError(
            f"MLflow experiment '{name}' at {shown(uri)} was deleted; restore it there, or set"
            " register_model.experiment to another name."
        )
    kept = urlsplit(experiment.artifact_location)
    if location and kept.scheme == "file" and not Path(unquote(kept.path)).parent.exists():
        raise TrackingError(
            f"MLflow store {database}: its artifacts were in {kept.path}, which is gone; move the project back, or"
            " remove the store."
        )
    return experiment


def lineage(context: StageContext) -> tuple[str, dict[str, str]]:
    """What identifies the run of a subject.

    Returns:
        sha256 over data, source, classes and the parameters that shape the result; and those
        parameters, flat.
    """
    subject, kind = context.whole, context.whole.row
    values = context.params.model_dump(mode="json")
    shaping: dict[str, Any] = {name: values[name] for name in kind.shaping if name in values}
    shaping[kind.name] = subject.name
    if kind.defined_as is not None:
        shaping[kind.defined_as] = values[kind.section][subject.name]
    params = {k: v if isinstance(v, str) else json.dumps(v) for k, v in _flatten(shaping).items()}
    content = {
        "dataset_sha256": sha256_file(context.artifact(kind.data, "dataset.safetensors")),
        "source_sha256": sha256_file(context.artifact(kind.source, "source.safetensors")),
        **params,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest(), params


def open_run(context: StageContext, client: MlflowClient | None = None) -> str:
    """Find or create the run of this subject, mark it RUNNING and ours; returns its id.

    Raises:
        TrackingError: the store cannot be used.
    """
    client = client or connect(context.root)
    experiment = open_experiment(client, context.root, context.params.register_model.experiment)
    digest, params = lineage(context)
    uri = tracking_uri(context.root)
    with locked(uri), tracking_errors(uri):
        found = client.search_runs(
            [experiment.experiment_id],
            f"tags.`{LINEAGE}` = '{digest}'",
            order_by=["attributes.start_time ASC"],
            max_results=1,
        )
        run = (
            found[0]
            if found
            else client.create_run(experiment.experiment_id, tags={LINEAGE: digest}, run_name=context.whole.deed)
        )
        run_id: str = run.info.run_id
        process = psutil.Process()
        tags = {
            f"seam.{context.whole.kind}": context.name,
            "seam.host": socket.gethostname(),
            "seam.pid": process.pid,
            "seam.process_start": process.create_time(),
        }
        missing = [Param(name, params[name]) for name in sorted(params.keys() - run.data.params.keys())]
        client.log_batch(run_id, params=missing, tags=run_tags(tags))
        client.update_run(run_id, status="RUNNING")
    return run_id


def log_history(
    client: MlflowClient, run_id: str, rows: Sequence[Mapping[str, Any]], prefix: str = "search", step: str = "round"
) -> None:
    """Log the rows (numbers of rounds or epochs) that the run does not have yet: a kill may have left a gap."""
    names = [n for n in rows[0] if n != step and isinstance(rows[0][n], int | float)] if rows else []
    metrics = []
    for name in names:
        key = f"{prefix}/{name}"
        have = {m.step for m in client.get_metric_history(run_id, key)}
        metrics += [Metric(key, float(row[name]), _now(), int(row[step])) for row in rows if int(row[step]) not in have]
    log_metrics(client, run_id, metrics)


def log_metrics(client: MlflowClient, run_id: str, metrics: Sequence[Metric]) -> None:
    """Log metrics, as many at a time as MLflow takes."""
    for i in range(0, len(metrics), 1000):
        client.log_batch(run_id, metrics=metrics[i : i + 1000])


def run_tags(values: Mapping[str, Any]) -> list[RunTag]:
    """For MlflowClient.log_batch."""
    return [RunTag(name, str(value)) for name, value in values.items()]


@contextmanager
def finished_run(context: StageContext) -> Iterator[tuple[MlflowClient, str]]:
    """A client and the id of the run of this subject, which ends FINISHED with the block, or FAILED."""
    client = connect(context.root)
    run_id = open_run(context, client)
    try:
        with tracking_errors(tracking_uri(context.root)):
            yield client, run_id
            finish_run(client, run_id)
    except Exception:
        finish_run(client, run_id, "FAILED")
        raise


def finish_run(client: MlflowClient, run_id: str, status: str = "FINISHED") -> None:
    """Set the final status of a run."""
    client.set_terminated(run_id, status)


def sweep_stale_runs(root: Path, experiment: str = "seam") -> list[str]:
    """Mark KILLED every RUNNING run of the experiment whose process, on this host, is gone; returns their ids.

    Raises:
        TrackingError: the store cannot be used.
    """
    client = connect(root)
    uri = tracking_uri(root)
    with tracking_errors(uri):
        found = client.get_experiment_by_name(experiment)
        if found is None:
            return []
        filters = f"attributes.status = 'RUNNING' AND tags.`seam.host` = '{socket.gethostname()}'"
        stale = [run.info.run_id for run in client.search_runs([found.experiment_id], filters) if not _alive(run)]
        for run_id in stale:
            finish_run(client, run_id, "KILLED")
    return stale


class SearchLogger:
    """Logs the rounds of a search as they come; a lost server costs one warning, register_model logs the rest.

    Use it as a context manager. After the block the run waits (SCHEDULED) for the stages that
    follow; FAILED on an error.
    """

    def __init__(self, context: StageContext) -> None:
        self._rows: list[dict[str, Any]] = []
        self._flushed = 0.0
        self._client: MlflowClient | None = None
        try:
            self._client = connect(context.root)
            self._run_id = open_run(context, self._client)
        except (TrackingError, *LOST) as e:
            self._give_up(e)

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Take one round: round, cross_entropy, density, val_accuracy."""
        if self._client is None:
            return
        self._rows.append({"round": row["round"], **{name: row[name] for name in HISTORY}})
        if time.monotonic() - self._flushed >= FLUSH_SECONDS:  # not every round: one may take milliseconds
            self._flush()

    def __enter__(self) -> SearchLogger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flush()
        if self._client is None:
            return
        try:
            self._client.update_run(self._run_id, status="FAILED" if kind else "SCHEDULED")
        except LOST as e:
            self._give_up(e)

    def _flush(self) -> None:
        if self._client is None:
            return
        try:
            log_history(self._client, self._run_id, self._rows)
        except LOST as e:
            self._give_up(e)
        self._rows.clear()
        self._flushed = time.monotonic()

    def _give_up(self, error: Exception) -> None:
        self._client = None
        logger.warning(
            "MLflow is not followed from here on, the search goes on and its history is logged at the end: %s",
            one_line(error),
        )


def search_logger(context: StageContext) -> SearchLogger:
    """A callable for each round of a search; see SearchLogger."""
    return SearchLogger(context)


def _alive(run: Run) -> bool:
    tags = run.data.tags
    try:
        started = float(psutil.Process(int(tags["seam.pid"])).create_time())
        return abs(started - float(tags["seam.process_start"])) < 1
    except (psutil.Error, KeyError, ValueError):
        return False


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat.update(_flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value})
    return flat


def _now() -> int:
    return int(time.time() * 1000)
