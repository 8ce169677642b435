"""A sweep in MLflow: one parent run, a child for each point; written by the process that leads the sweep."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from tasks.project.environment import tracking_uri
from tasks.tracking.evidence import run_tags
from tasks.tracking.experiments import open_experiment
from tasks.tracking.owner import owner_tags
from tasks.tracking.store import connect, tracking_errors

SWEEP, POINT = "seam.sweep", "seam.point"
"""Tags: of the parent its name, of a child its key."""


class SweepRuns:
    """The runs of one sweep, found again by its name when it goes on."""

    def __init__(self, root: Path, experiment: str, name: str) -> None:
        self._uri, self._name = tracking_uri(root), name
        self._client = connect(root)
        self._experiment = open_experiment(self._client, root, experiment).experiment_id
        self._parent = ""
        self._children: dict[str, str] = {}

    def begin(self) -> None:
        """The parent's run goes on, or begins."""
        with tracking_errors(self._uri):
            found = self._find(f"tags.`{SWEEP}` = '{self._name}'", 1)
            tags = {SWEEP: self._name, **owner_tags()}
            run = found[0] if found else self._client.create_run(self._experiment, run_name=f"sweep {self._name}")
            self._parent = run.info.run_id
            self._client.log_batch(self._parent, tags=run_tags(tags))
            self._client.update_run(self._parent, status="RUNNING")
            children = self._find(f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{self._parent}'", 10_000)
            self._children = {child.data.tags[POINT]: child.info.run_id for child in children}

    def point(self, key: str, setting: Mapping[str, str], card: Mapping[str, Any], seconds: float) -> None:
        """A point that ended well: its setting, its figures, and which run and version hold the rest."""
        texts = {f"seam.{name}": card[name] for name in ("run_id", "registered_model", "version") if card.get(name)}
        figures = {n: value for n, value in card.items() if type(value) in (int, float) and f"seam.{n}" not in texts}
        self._write(key, setting, {**figures, "seconds": seconds}, texts, "FINISHED")

    def failed(self, key: str, setting: Mapping[str, str], line: str) -> None:
        """A point that failed, and why."""
        self._write(key, setting, {}, {"seam.error": line}, "FAILED")

    def end(self, status: str) -> None:
        """The parent's run has ended."""
        if self._parent:
            with tracking_errors(self._uri):
                self._client.set_terminated(self._parent, status)

    def _write(
        self, key: str, setting: Mapping[str, str], figures: Mapping[str, float], texts: Mapping[str, Any], status: str
    ) -> None:
        with tracking_errors(self._uri):
            run_id = self._children.get(key)
            if run_id is None:
                tags = {MLFLOW_PARENT_RUN_ID: self._parent, POINT: key}
                run = self._client.create_run(self._experiment, run_name=key, tags=tags)
                run_id = self._children[key] = run.info.run_id
            self._client.log_batch(
                run_id,
                metrics=[Metric(name, float(value), 0, 0) for name, value in figures.items()],
                params=[Param(name, json.dumps(value)) for name, value in setting.items()],
                tags=[RunTag(name, str(value)) for name, value in texts.items()],
            )
            self._client.set_terminated(run_id, status)

    def _find(self, condition: str, most: int) -> list[Any]:
        return list(self._client.search_runs([self._experiment], condition, max_results=most))
