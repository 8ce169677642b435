"""The experiment in MLflow that runs belong to."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException

from seam.errors import TrackingError
from tasks.project.environment import tracking_uri
from tasks.tracking.store import locked, shown, sqlite_file, tracking_errors


def open_experiment(client: MlflowClient, root: Path, name: str) -> Experiment:
    """The experiment called `name`, created when there is none.

    A local store keeps its artifacts beside its database.
    """
    uri = tracking_uri(root)
    database = sqlite_file(uri)
    location = (database.parent / "artifacts").as_uri() if database else None
    with tracking_errors(uri), locked(uri):
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            return _create_experiment(client, name, location)
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


def _create_experiment(client: MlflowClient, name: str, location: str | None) -> Experiment:
    """A new experiment, or the one that another machine made meanwhile."""
    try:
        return client.get_experiment(client.create_experiment(name, artifact_location=location))
    except MlflowException as e:
        if e.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    return experiment
