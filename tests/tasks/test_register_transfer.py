"""The best student is registered once, and serves."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.pyfunc import load_model
from safetensors.torch import load_file

from seam.data.prepared import load_prepared
from seam.files import read_json, write_json
from tasks.project.environment import tracking_uri
from tasks.register_transfer import register_transfer
from tests.tasks.transfer_project import CLASSES, context_of, student_folder

CARD = "artifacts/flowers/register_transfer/card.json"


def registered(root: Path) -> Any:
    return MlflowClient(tracking_uri=tracking_uri(root), registry_uri=tracking_uri(root))


def test_the_best_student_is_registered_once_and_serves(
    project: Path, empty_mlflow_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copyfile(empty_mlflow_store, project / "mlflow/mlflow.db")
    path = project / "artifacts/flowers/compare_transfers/comparison.json"
    passing = [{"gate": "accuracy_drop", "passed": True, "text": "fine"}]
    write_json(path, {**read_json(path), "gates": passing})
    first, again = (register_transfer(context_of(project, "register_transfer")) for _ in range(2))
    assert (
        first.summary
        == again.summary
        == {
            "registered_model": "seam-transfer-flowers",
            "version": 1,
            "aliases": "champion",
        }
    )
    card = read_json(project / "artifacts/flowers/register_transfer/card.json")
    client = registered(project)
    run = client.get_run(card["run_id"])
    assert (
        run.info.status == "FINISHED"
        and run.data.tags["seam.target"] == "flowers"
        and run.data.params["transfer.training.epochs"] == "4"
    )
    seam_metrics = read_json(student_folder(project, "seam") / "metrics.json")
    assert run.data.metrics["compare_transfers/methods/seam/accuracy/mean"] == seam_metrics["accuracy"]
    assert [m.step for m in client.get_metric_history(card["run_id"], "transfer/history/seam-seed0/val_accuracy")] == [
        1,
        2,
        3,
        4,
    ]
    assert {"report.html", "comparison.json", "pareto.svg", "card.json"} <= {
        f.path for f in client.list_artifacts(card["run_id"])
    }
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(project))
    data = load_prepared(project / "artifacts/flowers/validate_target/dataset.safetensors")
    answer: Any = load_model("models:/seam-transfer-flowers@champion").predict(data.x_test)
    expected = load_file(student_folder(project, "seam") / "predictions.safetensors")["clean"]
    assert list(answer["class"]) == [CLASSES[i] for i in expected]
    write_json(path, {**read_json(path), "gates": [{**passing[0], "passed": False}]})
    doubtful = register_transfer(context_of(project, "register_transfer")).summary
    assert doubtful["aliases"] == "champion", "it stays, with a doubt"
    assert "no longer meets accuracy_drop" in read_json(project / CARD)["doubt"]
    write_json(path, {**read_json(path), "registered": None, "gates": []})
    assert register_transfer(context_of(project, "register_transfer")).summary["registered_model"] is None
