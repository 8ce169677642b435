"""Runs in MLflow: one for each subject, found again by its lineage; models are in `tasks.tracking.versions`.

Every call names its run (`MlflowClient`; the fluent API's active run is thread-local and leaves
stray runs).
"""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Param, Run

from seam.files import sha256_file
from tasks.project.environment import tracking_uri
from tasks.project.params import flat
from tasks.project.process import Worker
from tasks.project.stage import StageContext
from tasks.project.subject import parts_of
from tasks.tracking.evidence import run_tags
from tasks.tracking.experiments import open_experiment
from tasks.tracking.owner import owner_of, owner_tags
from tasks.tracking.store import LOST, connect, locked, tracking_errors, unless_raced

LINEAGE = "seam.lineage"


def lineage(context: StageContext) -> tuple[str, dict[str, str]]:
    """What identifies the run of a subject.

    Returns:
        sha256 over data, source, classes and the parameters that shape the result; and those
        parameters, flat.
    """
    subject, kind = context.whole, context.whole.row
    values = context.params.model_dump(mode="json")
    shaping: dict[str, Any] = {name: values[name] for name in kind.shaping if name in values}
    shaping[kind.name if kind.defined_as != kind.name else f"{kind.name}.name"] = subject.name
    if kind.defined_as is not None:
        shaping[kind.defined_as] = values[kind.section][subject.name]
    for part in parts_of(context.params, [subject]):
        shaping[f"{part.kind}.{part.name}"] = values[part.row.section][part.name]
    params = {k: v if isinstance(v, str) else json.dumps(v) for k, v in flat(shaping).items()}
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
    with tracking_errors(uri), locked(uri):
        run = _find_or_create_run(client, experiment.experiment_id, digest, context.whole.deed)
        run_id: str = run.info.run_id
        tags = {f"seam.{context.whole.kind}": context.name, **owner_tags()}
        unless_raced(lambda: _note(client, run_id, params, tags))
        client.update_run(run_id, status="RUNNING")
    return run_id


def _note(client: MlflowClient, run_id: str, params: dict[str, str], tags: dict[str, str]) -> None:
    """Log the parameters that the run has not, and the tags."""
    missing = sorted(params.keys() - client.get_run(run_id).data.params.keys())
    client.log_batch(run_id, params=[Param(name, params[name]) for name in missing], tags=run_tags(tags))


def _find_or_create_run(client: MlflowClient, experiment: str, digest: str, name: str) -> Run:
    """The run of a lineage; of two that two machines make at once the later goes."""

    def first() -> Run | None:
        order = ["attributes.start_time ASC", "attributes.run_id ASC"]
        found = client.search_runs([experiment], f"tags.`{LINEAGE}` = '{digest}'", order_by=order, max_results=1)
        return found[0] if found else None

    run = first()
    if run is not None:
        return run
    made = client.create_run(experiment, tags={LINEAGE: digest}, run_name=name)
    run = first() or made
    if run.info.run_id != made.info.run_id:
        client.delete_run(made.info.run_id)
    return run


@contextmanager
def finished_run(context: StageContext) -> Iterator[tuple[MlflowClient, str]]:
    """A client and the id of the run of this subject, which ends FINISHED with the block, FAILED, or KILLED."""
    client = connect(context.root)
    run_id = open_run(context, client)
    try:
        with tracking_errors(tracking_uri(context.root)):
            yield client, run_id
            finish_run(client, run_id)
    except BaseException as e:
        with suppress(*LOST):  # the error itself is to be read
            finish_run(client, run_id, status_of(e))
        raise


def status_of(error: BaseException) -> str:
    """How a run ends that an error ends: by its own fault, or because its process was told to stop."""
    return "FAILED" if isinstance(error, Exception) else "KILLED"


def finish_run(client: MlflowClient, run_id: str, status: str = "FINISHED") -> None:
    """Set the final status of a run."""
    client.set_terminated(run_id, status)


def sweep_stale_runs(root: Path, experiment: str = "seam") -> list[str]:
    """Mark KILLED every RUNNING run of the experiment whose process, on this machine, is gone; returns their ids.

    Raises:
        TrackingError: the store cannot be used.
    """
    return _kill(root, experiment, ("RUNNING",), lambda worker: worker is None or worker.is_gone)


def kill_own_runs(root: Path, experiment: str = "seam") -> list[str]:
    """Mark KILLED every run of the experiment that this process has begun and not ended; returns their ids.

    Raises:
        TrackingError: the store cannot be used.
    """
    this = Worker.this()
    return _kill(root, experiment, ("RUNNING", "SCHEDULED"), lambda worker: worker == this)


def _kill(root: Path, experiment: str, statuses: Sequence[str], is_meant: Callable[[Worker | None], bool]) -> list[str]:
    """Mark KILLED the runs of this host in one of these statuses whose process, if it is known, is meant."""
    client = connect(root)
    meant = []
    with tracking_errors(tracking_uri(root)):
        found = client.get_experiment_by_name(experiment)
        if found is None:
            return []
        for status in statuses:
            filters = f"attributes.status = '{status}' AND tags.`seam.host` = '{socket.gethostname()}'"
            runs = client.search_runs([found.experiment_id], filters)
            meant += [run.info.run_id for run in runs if is_meant(owner_of(run.data.tags))]
        for run_id in meant:
            finish_run(client, run_id, "KILLED")
    return meant
