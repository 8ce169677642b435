"""One MLflow run for a target, one registered version for its best student, the alias by the gates, and the card."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric
from mlflow.entities.model_registry import ModelVersion

from seam.data.prepared import ImageData
from seam.errors import DataError
from seam.files import read_json, read_rows, sha256_file, write_json
from seam.inference.export import export_serving_onnx
from seam.networks.source import Source
from seam.networks.state_dicts import load_weights
from seam.networks.student import Student, student
from tasks.inputs.target import target_data, transfer_source
from tasks.project.stage import StageContext, StageResult, main
from tasks.project.students import StudentName
from tasks.tracking.environment import data_dvc, git_commit, hardware, versions
from tasks.tracking.gates import RegistryPolicy, load_policy
from tasks.tracking.runs import finished_run, log_history, log_metrics, run_tags
from tasks.tracking.versions import SERVING_CODE, ServedModel, find_or_create_version, set_alias

logger = logging.getLogger(__name__)

POLICY = Path("mlflow") / "registry.yaml"
_MEASURES = ("accuracy", "robust_accuracy", "defect_inheritance_rate", "noise", "pgd", "density_start", "density_end")
_REPORTS = ("report.html", "comparison.json", "comparison.csv", "pareto.csv", "pareto.svg")


def register_transfer(context: StageContext) -> StageResult:
    """Log, register, publish card.json; run again after a kill, it finishes what is missing and repeats nothing.

    Where no student is of the method that is registered, the run is logged and nothing is
    registered.

    Raises:
        DataError: the student is not the one that was compared.
        TrackingError: the MLflow store cannot be used.
    """
    policy = load_policy(context.root / POLICY)
    comparison = read_json(context.artifact("compare_transfers", "comparison.json"))
    context.progress(0.05, "connect to MLflow")
    with finished_run(context) as (client, run_id):
        return _register(context, client, run_id, policy, comparison)


def _register(
    context: StageContext, client: MlflowClient, run_id: str, policy: RegistryPolicy, comparison: dict[str, Any]
) -> StageResult:
    chosen, data = comparison["registered"], target_data(context)
    context.progress(0.1, "log the run")
    log_comparison(context, client, run_id, comparison)
    registration: dict[str, Any] = {"registered_model": None, "version": None, "aliases": []}
    promoted = chosen is not None and all(gate["passed"] for gate in comparison["gates"])
    if chosen is not None:
        context.progress(0.5, "register the student")
        version, digest = _version(context, client, run_id, policy, chosen, data)
        aliases = set_alias(client, version, policy.alias, promoted)
        registration = {
            "registered_model": version.name,
            "version": int(version.version),
            "aliases": aliases,
            "result_sha256": digest,
        }
    for gate in comparison["gates"]:
        log = logger.info if gate["passed"] else logger.warning
        log("%s: gate %s %s: %s", context.name, gate["gate"], "met" if gate["passed"] else "not met", gate["text"])
    card = {
        **registration,
        "run_id": run_id,
        "promoted": promoted,
        **comparison,
        "params": context.params.model_dump(mode="json"),
        "hashes": {**_hashes(context), **data_dvc(context.root)},
        "git_commit": git_commit(context.root),
        "versions": versions(),
        "hardware": hardware(),
    }
    with context.publish() as out:
        write_json(out / "card.json", card)
        _log_files(context, client, run_id, out)
        client.log_batch(
            run_id,
            tags=run_tags(
                {"seam.promoted": promoted, "seam.registered": f"{card['registered_model']}/{card['version']}"}
            ),
        )
    shown = {name: card[name] for name in ("registered_model", "version")}
    return context.result({**shown, "aliases": ", ".join(registration["aliases"])})


def _version(
    context: StageContext,
    client: MlflowClient,
    run_id: str,
    policy: RegistryPolicy,
    chosen: dict[str, Any],
    data: ImageData,
) -> tuple[ModelVersion, str]:
    """The student's version in the registry, and the digest that identifies it."""
    source = transfer_source(context)
    learner = load_student(
        context, StudentName(chosen["method"], chosen["seed"]), chosen["student_sha256"], source, data
    )
    image_size = context.params.targets[context.name].image_size
    digest = _digest(source, chosen, data, image_size)
    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(folder) / "model.onnx"
        export_serving_onnx(learner, source.preprocess(), data.image_shape, onnx)
        served = ServedModel(
            name=context.whole.registered_name(context.params),
            result_sha256=digest,
            onnx=onnx,
            classes=data.classes,
            image_shape=data.image_shape,
            image_size=image_size,
            example=data.x_train[:2],
            description=(
                f"{context.name}: {source.info.architecture} transferred by {chosen['method']}, {len(data.classes)}"
                f" classes. {policy.description}"
            ),
        )
        return find_or_create_version(client, run_id, served), digest


def load_student(context: StageContext, name: StudentName, sha256: str, source: Source, data: ImageData) -> Student:
    """A published student, in eval mode, on the CPU.

    Raises:
        DataError: its file is not the one with this hash.
    """
    path = context.folder("transfer", name) / "student.safetensors"
    found = sha256_file(path) if path.is_file() else "no file"
    if found != sha256:
        raise DataError(
            f"{path}: expected the student that was compared, sha256 {sha256}, got {found}; run the stages transfer and"
            " compare_transfers again."
        )
    example = source.example(torch.from_numpy(data.x_train[:1]))
    learner = student(source.network, example, len(data.classes), name.seed)
    load_weights(learner, path)
    return learner.requires_grad_(False)


def _digest(source: Source, chosen: dict[str, Any], data: ImageData, image_size: int | None) -> str:
    """Identifies what is served: weights, classes, preprocessing and the serving code; not where or when."""
    content = {
        "student_sha256": chosen["student_sha256"],
        "architecture": source.info.architecture,
        "mean": source.info.mean,
        "std": source.info.std,
        "image_shape": data.image_shape,
        "classes": data.classes,
        "image_size": image_size,
        "serving_code_sha256": sha256_file(SERVING_CODE),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def log_comparison(context: StageContext, client: MlflowClient, run_id: str, comparison: dict[str, Any]) -> None:
    """Histories, final metrics, data set and environment of the run; what it already has is not logged again."""
    for name in context.params.transfer.students:
        path = context.folder("transfer", name) / "history.csv"
        rows = [row for row in read_rows(path) if row["phase"] == "training"] if path.is_file() else []
        log_history(
            client,
            run_id,
            [{k: row[k] for k in ("epoch", "loss", "val_accuracy")} for row in rows[1:]],
            name.folder,
            "epoch",
        )
    have = client.get_run(run_id).data.metrics
    now = int(time.time() * 1000)
    log_metrics(
        client,
        run_id,
        [Metric(key, value, now, 0) for key, value in final_metrics(comparison).items() if have.get(key) != value],
    )
    data, hashes = context.params.targets[context.name], _hashes(context)
    digest = hashes["dataset_sha256"]
    profile = {key: comparison[key] for key in ("num_train", "num_val", "num_test")}
    dataset = Dataset(
        Path(data.path).stem,
        digest[:32],
        "local",
        json.dumps({"uri": data.path, "kind": data.kind}),
        profile=json.dumps(profile),
    )
    client.log_inputs(
        run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training"), InputTag("sha256", digest)])]
    )
    tags = {f"seam.hardware.{k}": v for k, v in hardware().items()} | {
        f"seam.version.{k}": v for k, v in versions().items()
    }
    client.log_batch(run_id, tags=run_tags({**tags, **{f"seam.{k}": v for k, v in hashes.items()}}))


def final_metrics(comparison: dict[str, Any]) -> dict[str, float]:
    """One number for each thing measured.

    METHOD/accuracy (a mean over seeds), METHOD/accuracy_sd, METHOD/above_floor.
    """
    found: dict[str, float | None] = {}
    for method, row in comparison["methods"].items():
        for key in _MEASURES:
            found |= {f"{method}/{key}": row[key]["mean"], f"{method}/{key}_sd": row[key]["sd"]}
        floor = row.get("above_floor")
        found[f"{method}/above_floor"] = floor["difference"] if floor else None
    return {key: float(value) for key, value in found.items() if value is not None}


def _hashes(context: StageContext) -> dict[str, str]:
    return {
        "dataset_sha256": sha256_file(context.artifact("validate_target", "dataset.safetensors")),
        "source_sha256": sha256_file(context.artifact("fetch_source", "source.safetensors")),
        "adversarial_sha256": read_json(context.artifact("attack_target", "attack.json"))["sha256"][
            "adversarial.safetensors"
        ],
    }


def _log_files(context: StageContext, client: MlflowClient, run_id: str, out: Path) -> None:
    """Report, tables, plot and card, as artifacts of the run."""
    with tempfile.TemporaryDirectory() as folder:
        for name in _REPORTS:
            shutil.copyfile(context.artifact("compare_transfers", name), Path(folder) / name)
        shutil.copyfile(out / "card.json", Path(folder) / "card.json")
        client.log_artifacts(run_id, folder)


if __name__ == "__main__":
    main(register_transfer, __doc__)
