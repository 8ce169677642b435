"""register_model: one run, one version, the alias by the gates, whatever happens in between."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.pyfunc import load_model

from flows.registry_view import registered_model
from seam.errors import TrackingError
from seam.files import read_json, sha256_file
from tasks.project.environment import tracking_uri
from tasks.project.stage import StageContext
from tasks.project.subject import Subject
from tasks.register_model import final_metrics, register_model
from tasks.report.card import read_evidence
from tasks.tracking import registration
from tasks.tracking.versions import SERVING_CODE
from tests.processes import exit_statuses
from tests.registry_project import other_result, register_there

NAME = "seam-zero"
Edit = Callable[[Path, Callable[[dict[str, Any]], None]], None]


def client_of(context: StageContext) -> MlflowClient:
    return MlflowClient(tracking_uri=tracking_uri(context.root), registry_uri=tracking_uri(context.root))


def the_run(context: StageContext) -> Any:
    client = client_of(context)
    experiment = client.get_experiment_by_name("seam")
    (run,) = client.search_runs([experiment.experiment_id])
    return run


def test_one_run_one_version_with_the_alias(
    registry_project: StageContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    result = register_model(registry_project)
    client, run = client_of(registry_project), the_run(registry_project)
    assert result.summary["version"] == 1
    assert result.summary["aliases"] == "champion"
    version = client.get_model_version(NAME, "1")
    assert {name: version.tags[f"seam.{name}"] for name in ("source_sha256", "mask_sha256")} == {
        name: run.data.tags[f"seam.{name}"] for name in ("source_sha256", "mask_sha256")
    }
    assert run.info.status == "FINISHED"
    assert run.data.params["search.alpha"] == "1.0"
    assert run.data.metrics["evaluate/reengineered_finetuned/accuracy"] == 0.96
    assert run.data.metrics["evaluate/baselines/taylor_mask/accuracy"] == 0.935
    assert run.data.metrics["benchmark_latency/onnxruntime/source/batch16/latency_ms_p50"] == 8.0
    history = client.get_metric_history(run.info.run_id, "search/history/density")
    assert [(m.step, m.value) for m in history] == [(0, 1.0), (1, 0.75), (2, 0.5), (3, 0.25)]
    files = {f.path for f in client.list_artifacts(run.info.run_id)}
    assert files == {
        "report.html",
        "card.json",
        "mask.safetensors",
        "head.safetensors",
        "norms.safetensors",
        "history.csv",
        "frontier.csv",
        "figures",
    }
    assert "figures/convergence.svg" in {f.path for f in client.list_artifacts(run.info.run_id, "figures")}
    (dataset,) = run.inputs.dataset_inputs
    assert (
        dataset.dataset.digest
        == read_json(registry_project.artifact("register_model", "card.json"))["hashes"]["dataset_sha256"][:32]
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["project"]  # no stray store in the working directory


def test_the_fastest_engine_and_a_good_int8_model_go_with_the_version(
    registry_project: StageContext, edit_json: Edit
) -> None:
    fastest = {
        "batch16": {
            side: {"engine": "openvino_int8", "model": "compacted", "latency_ms_p50": 0.5}
            for side in ("source", "reengineered")
        }
    }
    rounded = {
        e: {name: {"accepted": good, "test_accuracy": 0.9} for name in ("source", "compacted")}
        for e, good in (("a", False), ("openvino_int8", True))
    }
    about = {"fastest": fastest, "hardware": {"cpu": "a CPU"}, "int8": rounded}
    edit_json(registry_project.artifact("benchmark_latency", "export.json"), lambda e: e.update(about))
    registry_project.artifact("benchmark_latency", "int8").mkdir()
    registry_project.artifact("benchmark_latency", "int8/compacted.onnx").write_text("int8")
    register_model(registry_project)
    client = client_of(registry_project)
    assert (
        client.get_model_version(NAME, "1").tags["seam.fastest.batch16"] == "openvino_int8, compacted: 0.5 ms on a CPU"
    )
    logged = {f.path for f in client.list_artifacts(the_run(registry_project).info.run_id)}
    assert "compacted_int8.onnx" in logged


def test_times_of_every_form_of_the_model_are_metrics(registry_project: StageContext, edit_json: Edit) -> None:
    def add(measured: dict[str, Any]) -> None:
        measured["onnxruntime"]["compacted"] = {"batch16": {"latency_ms_p50": 4.8, "latency_ms_p95": 5.0}}

    edit_json(registry_project.artifact("benchmark_latency", "metrics.json"), add)
    found = final_metrics(read_evidence(registry_project))
    assert (
        found["benchmark_latency/onnxruntime/compacted/batch16/latency_ms_p50"],
        found["benchmark_latency/onnxruntime/source/batch16/latency_ms_p50"],
    ) == (4.8, 8.0)
    assert not any(name.startswith("benchmark_latency/deepsparse") for name in found)  # it is unavailable


def test_the_card_holds_everything(registry_project: StageContext) -> None:
    register_model(registry_project)
    card = read_json(registry_project.artifact("register_model", "card.json"))
    assert (card["registered_model"], card["version"], card["aliases"]) == (NAME, 1, ["champion"])
    assert card["run_id"] == the_run(registry_project).info.run_id
    assert [g["passed"] for g in card["gates"]] == [True, True, True]
    assert card["warnings"] == ["<script>doubt</script>", "standard_finetuned: a doubt"]
    assert card["finetune"]["reengineered_finetuned"] == {"epoch": 1, "val_accuracy": 0.85}
    assert card["hashes"]["mask_sha256"] == card["search"]["mask_sha256"]
    assert card["evaluate"]["source"]["accuracy"] == 0.95
    assert {"seeds", "versions", "hardware", "attack", "benchmark_latency", "export", "params"} <= card.keys()


def test_registered_twice_is_one_version(registry_project: StageContext) -> None:
    register_model(registry_project)
    before = the_run(registry_project)
    register_model(registry_project)
    client, after = client_of(registry_project), the_run(registry_project)
    assert [int(v.version) for v in client.search_model_versions(f"name = '{NAME}'")] == [1]
    assert len(client.search_logged_models([after.info.experiment_id])) == 1
    assert after.info.run_id == before.info.run_id
    assert len(client.get_metric_history(after.info.run_id, "search/history/density")) == 4
    assert len(client.get_metric_history(after.info.run_id, "evaluate/source/accuracy")) == 1


def test_another_result_is_another_version(registry_project: StageContext) -> None:
    register_model(registry_project)
    changed = registry_project.params.model_copy(
        update={"register_model": replace(registry_project.params.register_model, model="reengineered")}
    )
    context = StageContext("register_model", changed, registry_project.root, Subject("problem", "zero"))
    register_model(context)
    versions = client_of(context).search_model_versions(f"name = '{NAME}'")
    assert sorted(int(v.version) for v in versions) == [1, 2]
    assert len({v.tags["seam.result_sha256"] for v in versions}) == 2


def test_a_result_is_known_by_what_it_is_made_of(registry_project: StageContext) -> None:
    register_model(registry_project)
    card = read_json(registry_project.artifact("register_model", "card.json"))
    served = {
        "source_sha256": sha256_file(registry_project.artifact("prepare_source", "source.safetensors")),
        "mask_sha256": card["search"]["mask_sha256"],
        "weights_sha256": sha256_file(registry_project.artifact("finetune", "reengineered_finetuned.safetensors")),
        "architecture": card["source"]["architecture"],
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
        "image_shape": [8, 8, 1],
        "classes": ["zero", "other"],
        "image_size": None,
        "model": "reengineered_finetuned",
        "form": "compacted",
        "serving_code_sha256": sha256_file(SERVING_CODE),
    }
    assert card["result_sha256"] == hashlib.sha256(json.dumps(served, sort_keys=True).encode()).hexdigest()
    (version,) = client_of(registry_project).search_model_versions(f"name = '{NAME}'")
    assert version.tags["seam.result_sha256"] == card["result_sha256"]


def test_a_missed_gate_keeps_the_version_as_challenger_and_says_why(
    registry_project: StageContext, edit_json: Edit, caplog: pytest.LogCaptureFixture
) -> None:
    edit_json(
        registry_project.artifact("evaluate", "metrics.json"),
        lambda m: m["reengineered_finetuned"].update(accuracy=0.94),
    )
    with caplog.at_level(logging.WARNING):
        result = register_model(registry_project)
    assert (result.summary["version"], result.summary["aliases"]) == (1, "challenger")
    assert (
        "gate accuracy_drop not met: accuracy 94.00% against 95.00% of source on 200 test images: 2 images fewer right"
        in caplog.text
    )
    card = read_json(registry_project.artifact("register_model", "card.json"))
    assert not card["promoted"]
    assert "2 images fewer" in registry_project.artifact("register_model", "report.html").read_text()
    assert the_run(registry_project).info.status == "FINISHED"


def test_a_champion_that_misses_a_tightened_gate_stays_with_a_doubt(registry_project: StageContext) -> None:
    register_model(registry_project)
    policy = registry_project.root / "mlflow" / "registry.yaml"
    policy.write_text(policy.read_text().replace("at_most: 0.5\n", "at_most: 0.1\n"))
    assert register_model(registry_project).summary["aliases"] == "champion"
    assert client_of(registry_project).get_registered_model(NAME).aliases == {"champion": 1}
    card = read_json(registry_project.artifact("register_model", "card.json"))
    doubt = "version 1 is @champion and no longer meets fewer_weights: it stays until a better one comes"
    assert card["promoted"] and doubt in card["doubt"] and card["warnings"][0] == card["doubt"]
    assert doubt in registry_project.artifact("register_model", "report.html").read_text()
    uri = tracking_uri(registry_project.root)
    found = registered_model(uri, NAME)
    assert found is not None and found.doubts == {1: "gates not met: fewer_weights"}
    policy.write_text(policy.read_text().replace("at_most: 0.1\n", "at_most: 0.5\n"))
    register_model(registry_project)
    found = registered_model(uri, NAME)
    assert found is not None and found.doubts == {} and found.aliases == {"champion": 1}


def test_another_result_is_held_against_the_champion(registry_project: StageContext, edit_json: Edit) -> None:
    """With figures of a thousand images and other weights each time: noise, a lower one, one that is better."""
    champions = []
    for seed, accuracy in ((1, 0.96), (2, 0.963), (3, 0.955), (4, 0.99)):
        other_result(registry_project, seed)
        edit_json(
            registry_project.artifact("evaluate", "metrics.json"),
            lambda m, accuracy=accuracy: m["reengineered_finetuned"].update(accuracy=accuracy, num_images=1000),
        )
        register_model(registry_project)
        champions.append(read_json(registry_project.artifact("register_model", "card.json"))["champion"])
        page = registry_project.artifact("register_model", "report.html").read_text()
        assert ("Against the champion" in page) is (seed > 1)
    assert champions == [1, 1, 1, 4]
    assert client_of(registry_project).get_registered_model(NAME).aliases == {"champion": 4, "challenger": 3}


def register_and_die_at(name: str, root: Path) -> None:
    """Like kill -9: no handler of the stage sees it."""
    setattr(registration, name, lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGKILL))
    register_there(root)


@pytest.mark.parametrize("interrupted", ["log_evidence", "create_version", "settle", "log_files"])
def test_killed_anywhere_and_run_again_ends_the_same(registry_project: StageContext, interrupted: str) -> None:
    assert exit_statuses([(register_and_die_at, (interrupted, registry_project.root))]) == [-signal.SIGKILL]
    assert the_run(registry_project).info.status == "RUNNING"
    result = register_model(registry_project)
    client, run = client_of(registry_project), the_run(registry_project)
    assert (result.summary["version"], result.summary["aliases"], run.info.status) == (1, "champion", "FINISHED")
    assert len(client.search_logged_models([run.info.experiment_id])) == 1
    assert [m.step for m in client.get_metric_history(run.info.run_id, "search/history/val_accuracy")] == [0, 1, 2, 3]


def test_a_failure_marks_the_run_failed_and_publishes_nothing(
    registry_project: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise TrackingError("no")

    monkeypatch.setattr(registration, "create_version", fail)
    with pytest.raises(TrackingError):
        register_model(registry_project)
    assert the_run(registry_project).info.status == "FAILED"
    assert not registry_project.folder("register_model").exists()


def test_the_champion_predicts_and_holds_no_pickle(
    registry_project: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_model(registry_project)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(registry_project.root))
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    model = load_model(f"models:/{NAME}@champion")
    answer: Any = model.predict(np.zeros((3, 8, 8, 1), np.uint8))
    assert set(answer["class"]) <= {"zero", "other"}
    assert not [
        p for p in (registry_project.root / "mlflow").rglob("*") if p.suffix in (".pkl", ".pickle", ".pt", ".pth")
    ]
    assert json.loads(model.metadata.signature.inputs.to_json())[0]["tensor-spec"]["shape"] == [-1, 8, 8, 1]
