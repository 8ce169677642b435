"""What is logged in a run: histories, final metrics, the data set, tags; what the run already has stays as it is."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, RunTag

from seam.configs.data import DataConfig

SEARCH_HISTORY = "search/history"
"""Prefix of the metrics of each round of a search."""


@dataclass(frozen=True)
class History:
    """A stage's history.csv as metrics: `<prefix>/<column>` at every step."""

    prefix: str
    step: str
    """The column that counts: round or epoch."""
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class DataUsed:
    """The data set of a run."""

    config: DataConfig
    sha256: str
    """Of the prepared data set's file."""
    profile: Mapping[str, int]
    """How many images each split has."""


@dataclass(frozen=True)
class RunEvidence:
    """Everything that a run says of a result beside its files."""

    histories: Sequence[History]
    metrics: Mapping[str, float]
    """One number for each thing measured; see `metric_values`."""
    data: DataUsed
    tags: Mapping[str, Any]


def metric_values(stage: str, results: Mapping[str, Any], words: Collection[str]) -> dict[str, float]:
    """Numbers of a stage's JSON file as MLflow's metrics: a key is the stage, then the keys that lead to the number.

    Args:
        stage: that published the file.
        results: the file's content.
        words: last keys of the numbers that are taken.

    Returns:
        For example {"evaluate/source/accuracy": 0.95}; without what is null or no number.
    """
    found: dict[str, float] = {}
    for key, value in results.items():
        path = f"{stage}/{key}"
        if isinstance(value, Mapping):
            found |= metric_values(path, value, words)
        elif key in words and _is_number(value):
            found[path] = float(value)
    return found


def log_evidence(client: MlflowClient, run_id: str, evidence: RunEvidence) -> None:
    """Log all of it in one batch; run again after a kill, it logs what is missing."""
    have = client.get_run(run_id).data.metrics
    metrics = [metric for history in evidence.histories for metric in _missing(client, run_id, history, have)]
    final = {key: value for key, value in evidence.metrics.items() if have.get(key) != value}
    metrics += [Metric(key, value, _now(), 0) for key, value in final.items()]
    _log_metrics(client, run_id, metrics, run_tags(evidence.tags))
    client.log_inputs(run_id, [_dataset_input(evidence.data)])


def log_history(client: MlflowClient, run_id: str, history: History) -> None:
    """Log the rows (numbers of rounds or epochs) that the run does not have yet: a kill may have left a gap."""
    _log_metrics(client, run_id, _missing(client, run_id, history, client.get_run(run_id).data.metrics))


def _missing(client: MlflowClient, run_id: str, history: History, have: Collection[str]) -> list[Metric]:
    """What the run lacks of a history, of whose metrics it has those called `have`, in part or whole.

    Cells without a number, such as the loss of epoch 0, are left out.
    """
    cells = ((name, value) for row in history.rows for name, value in row.items())
    names = dict.fromkeys(name for name, value in cells if name != history.step and _is_number(value))
    metrics: list[Metric] = []
    for name in names:
        key = f"{history.prefix}/{name}"
        logged = {m.step for m in client.get_metric_history(run_id, key)} if key in have else set[int]()
        steps = ((int(row[history.step]), float(row[name])) for row in history.rows if _is_number(row[name]))
        metrics += [Metric(key, value, _now(), step) for step, value in steps if step not in logged]
    return metrics


def run_tags(values: Mapping[str, Any]) -> list[RunTag]:
    """For MlflowClient.log_batch."""
    return [RunTag(name, str(value)) for name, value in values.items()]


def _dataset_input(data: DataUsed) -> DatasetInput:
    source = json.dumps({"uri": data.config.path, "kind": data.config.kind})
    name = Path(data.config.path).stem or "data"
    dataset = Dataset(name, data.sha256[:32], "local", source, profile=json.dumps(dict(data.profile)))
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training"), InputTag("sha256", data.sha256)])


def _log_metrics(client: MlflowClient, run_id: str, metrics: Sequence[Metric], tags: Sequence[RunTag] = ()) -> None:
    """As many at a time as MLflow takes; tags go with the first."""
    for i in range(0, max(len(metrics), min(len(tags), 1)), 1000):
        client.log_batch(run_id, metrics=metrics[i : i + 1000], tags=tags if i == 0 else ())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _now() -> int:
    return int(time.time() * 1000)
