"""What a run is told: metrics called as in the JSON files, histories and data set once."""

from __future__ import annotations

import pytest

from seam.configs.data import DataConfig
from tasks.project.stage import StageContext
from tasks.tracking.evidence import DataUsed, History, RunEvidence, log_evidence, log_history, metric_values
from tasks.tracking.runs import open_run
from tasks.tracking.store import connect


def test_metrics_are_called_as_in_the_file() -> None:
    results = {
        "source": {"accuracy": 0.5, "macs_dense": 7, "accuracy_per_class": {"a": 1.0}, "promoted": True},
        "baselines": {"head_only": {"accuracy": 1, "params_total": None}},
        "deepsparse": {"unavailable": "not installed"},
        "accuracy": "none",
        "warnings": ["accuracy"],
    }
    assert metric_values("evaluate", results, ("accuracy", "macs_dense", "params_total", "promoted")) == {
        "evaluate/source/accuracy": 0.5,
        "evaluate/source/macs_dense": 7.0,
        "evaluate/baselines/head_only/accuracy": 1.0,
    }


def test_a_gap_in_a_history_is_filled_and_nothing_is_logged_twice(registry_project: StageContext) -> None:
    client = connect(registry_project.root)
    run_id = open_run(registry_project, client)
    rows = [{"round": i, "density": 1 - i / 10, "accepted": True, "stage": "first"} for i in range(4)]
    for some in ([rows[0], rows[2]], rows, rows):
        log_history(client, run_id, History("search/history", "round", some))
    found = client.get_metric_history(run_id, "search/history/density")
    assert sorted((m.step, m.value) for m in found) == [(0, 1.0), (1, 0.9), (2, 0.8), (3, 0.7)]
    assert list(client.get_run(run_id).data.metrics) == ["search/history/density"]  # numbers alone
    log_history(client, run_id, History("search/history", "round", []))


def test_evidence_logged_again_with_another_value_adds_that_value_alone(registry_project: StageContext) -> None:
    client = connect(registry_project.root)
    run_id = open_run(registry_project, client)
    data = DataUsed(DataConfig(kind="npz", path="data/digits.npz"), "ab" * 32, {"train": 6})

    def evidence(density: float) -> RunEvidence:
        return RunEvidence((), {"search/density": density, "search/rounds": 4.0}, data, {"seam.mask_sha256": "cd"})

    for density in (0.25, 0.25, 0.5):
        log_evidence(client, run_id, evidence(density))
    assert [m.value for m in client.get_metric_history(run_id, "search/density")] == [0.25, 0.5]
    assert [m.value for m in client.get_metric_history(run_id, "search/rounds")] == [4.0]
    run = client.get_run(run_id)
    assert run.data.tags["seam.mask_sha256"] == "cd"
    (used,) = run.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest, used.dataset.profile) == ("digits", "ab" * 16, '{"train": 6}')
    assert {tag.key: tag.value for tag in used.tags} == {"mlflow.data.context": "training", "sha256": "ab" * 32}


@pytest.mark.parametrize("value", [float("nan"), 0.0])
def test_a_history_takes_every_number(registry_project: StageContext, value: float) -> None:
    client = connect(registry_project.root)
    run_id = open_run(registry_project, client)
    log_history(client, run_id, History("finetune/history/source", "epoch", [{"epoch": 0, "loss": value}]))
    assert [m.step for m in client.get_metric_history(run_id, "finetune/history/source/loss")] == [0]


def test_a_history_whose_first_row_lacks_a_number_has_the_others(registry_project: StageContext) -> None:
    """Before the first epoch there is no loss."""
    client = connect(registry_project.root)
    run_id = open_run(registry_project, client)
    rows = [{"epoch": 0, "model": "source", "loss": ""}, {"epoch": 1, "model": "source", "loss": 0.5}]
    log_history(client, run_id, History("finetune/history/source", "epoch", rows))
    assert [(m.step, m.value) for m in client.get_metric_history(run_id, "finetune/history/source/loss")] == [(1, 0.5)]
    assert client.get_metric_history(run_id, "finetune/history/source/model") == []


def test_what_a_new_run_is_told_is_one_batch(registry_project: StageContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """With as few questions as that takes: a run on a server costs a round trip for each."""
    client = connect(registry_project.root)
    run_id = open_run(registry_project, client)
    rows = [{"epoch": i, "loss": 0.5, "val_accuracy": 0.9} for i in range(3)]
    histories = [History(f"finetune/history/{name}", "epoch", rows) for name in ("one", "two")]
    data = DataUsed(DataConfig(kind="npz", path="data/digits.npz"), "ab" * 32, {"train": 6})
    calls: list[str] = []
    for name in ("log_batch", "get_metric_history", "get_run"):
        method = getattr(client, name)
        monkeypatch.setattr(client, name, lambda *a, _m=method, _n=name, **k: calls.append(_n) or _m(*a, **k))
    log_evidence(client, run_id, RunEvidence(histories, {"search/density": 0.25}, data, {"seam.mask_sha256": "cd"}))
    assert calls == ["get_run", "log_batch"]
    log_evidence(client, run_id, RunEvidence(histories, {"search/density": 0.25}, data, {}))
    assert calls[2:] == ["get_run", *["get_metric_history"] * 4]
    run = client.get_run(run_id)
    assert run.data.tags["seam.mask_sha256"] == "cd" and len(run.data.metrics) == 5
    assert [m.step for m in client.get_metric_history(run_id, "finetune/history/two/loss")] == [0, 1, 2]
