"""One MLflow run for the problem, one registered version for the result, the alias by the gates, card and report."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric

from seam.data.prepared import load_prepared
from seam.files import sha256_file, write_json, write_text
from seam.inference.export import export_serving_onnx
from seam.networks.source import Preprocess
from tasks.inputs.problem import load_compacted
from tasks.project.measured import MEASURED
from tasks.project.stage import StageContext, StageResult, main
from tasks.report.card import Evidence, build_card, read_evidence
from tasks.report.page import Plot
from tasks.report.problem import plots, render_report
from tasks.tracking.environment import data_dvc, hardware, versions
from tasks.tracking.gates import RegistryPolicy, judge, load_policy
from tasks.tracking.runs import finished_run, log_history, log_metrics, run_tags
from tasks.tracking.versions import SERVING_CODE, ServedModel, find_or_create_version, set_alias

logger = logging.getLogger(__name__)

POLICY = Path("mlflow") / "registry.yaml"


def register_model(context: StageContext) -> StageResult:
    """Log, register, judge, publish; run again after a kill, it finishes what is missing and repeats nothing."""
    policy = load_policy(context.root / POLICY)
    evidence = read_evidence(context)
    context.progress(0.05, "connect to MLflow")
    with finished_run(context) as (client, run_id):
        return _register(context, client, run_id, policy, evidence)


def _register(
    context: StageContext, client: MlflowClient, run_id: str, policy: RegistryPolicy, evidence: Evidence
) -> StageResult:
    model = context.params.register_model.model
    verdicts = judge(policy, model, evidence.evaluated, evidence.attacked)
    promoted = all(v.passed for v in verdicts)
    context.progress(0.1, "log the run")
    log_evidence(context, client, run_id, evidence)
    context.progress(0.4, "register the model")
    digest = result_digest(context, evidence)
    with tempfile.TemporaryDirectory() as folder:
        served = serve_as(context, evidence, digest, policy.description, Path(folder) / "model.onnx")
        version = find_or_create_version(client, run_id, served)
    for batch, sides in evidence.export.get("fastest", {}).items():
        client.set_model_version_tag(
            version.name, version.version, f"seam.fastest.{batch}", winner(sides["reengineered"], evidence)
        )
    aliases = set_alias(client, version, policy.alias, promoted)
    for verdict in verdicts:
        log = logger.info if verdict.passed else logger.warning
        log("%s: gate %s %s: %s", context.name, verdict.gate, "met" if verdict.passed else "not met", verdict.text)
    registration = {
        "registered_model": version.name,
        "version": int(version.version),
        "aliases": aliases,
        "run_id": run_id,
        "result_sha256": digest,
    }
    card = build_card(context, evidence, verdicts, registration)
    context.progress(0.7, "report")
    drawn = plots(evidence, model)
    with context.publish() as out:
        write_json(out / "card.json", card)
        write_text(out / "report.html", render_report(context, card, evidence, drawn))
        _log_files(context, client, run_id, out, drawn, evidence)
        client.log_batch(
            run_id, tags=run_tags({"seam.promoted": promoted, "seam.registered": f"{version.name}/{version.version}"})
        )
    accuracy, density = (evidence.evaluated[model][key] for key in ("accuracy", "density"))
    return context.result(
        {
            "registered_model": version.name,
            "version": int(version.version),
            "aliases": ", ".join(aliases),
            "accuracy": accuracy,
            "density": density,
        }
    )


def winner(fastest: Mapping[str, Any], evidence: Evidence) -> str:
    """The engine to run this model on, and on which machine that was measured."""
    machine = evidence.export["hardware"].get("cpu", "unknown CPU")
    return f"{fastest['engine']}, {fastest['model']}: {fastest['latency_ms_p50']:.3g} ms on {machine}"


def result_digest(context: StageContext, evidence: Evidence) -> str:
    """Identifies what is served: weights, mask, source, classes, preprocessing and the serving code.

    Not where or when.
    """
    source, params = evidence.source, context.params
    content = {
        **{name: evidence.hashes[name] for name in ("source_sha256", "mask_sha256", "weights_sha256")},
        **{name: source[name] for name in ("architecture", "mean", "std", "image_shape")},
        "classes": evidence.split["classes"],
        "image_size": params.data.image_size,
        "model": params.register_model.model,
        "form": "compacted",
        "serving_code_sha256": sha256_file(SERVING_CODE),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def serve_as(context: StageContext, evidence: Evidence, digest: str, description: str, onnx: Path) -> ServedModel:
    """Export the model, compacted, with its preprocessing to `onnx` and describe it for the registry."""
    height, width, channels = evidence.source["image_shape"]
    config = context.params.register_model
    preprocess = Preprocess(evidence.source["mean"], evidence.source["std"])
    model = load_compacted(context, config.model).module
    export_serving_onnx(model, preprocess, (height, width, channels), onnx)
    data = load_prepared(context.artifact("validate_data", "dataset.safetensors"))
    return ServedModel(
        name=context.whole.registered_name(context.params),
        result_sha256=digest,
        onnx=onnx,
        classes=evidence.split["classes"],
        image_shape=(height, width, channels),
        image_size=context.params.data.image_size,
        example=data.x_train[:2],
        description=f"{context.name} ({', '.join(evidence.split['classes'])}). {description}",
    )


def log_evidence(context: StageContext, client: MlflowClient, run_id: str, evidence: Evidence) -> None:
    """Histories, final metrics, data set and environment of the run; what it already has is not logged again."""
    log_history(client, run_id, [{k: v for k, v in row.items() if k != "accepted"} for row in evidence.history])
    for name in sorted({row["model"] for row in evidence.finetune_history}):
        log_history(
            client,
            run_id,
            [row for row in evidence.finetune_history if row["model"] == name],
            f"finetune/{name}",
            "epoch",
        )
    have = client.get_run(run_id).data.metrics
    now = int(time.time() * 1000)
    log_metrics(
        client,
        run_id,
        [Metric(key, value, now, 0) for key, value in final_metrics(evidence).items() if have.get(key) != value],
    )
    client.log_inputs(run_id, [_dataset(context, evidence)])
    tags = {
        "seam.data": json.dumps(context.params.model_dump(mode="json")["data"]),
        "seam.runtime": json.dumps({name: evidence.search[name] for name in ("device", "precision", "threads")}),
        **{f"seam.hardware.{k}": v for k, v in hardware().items()},
        **{f"seam.version.{k}": v for k, v in versions().items()},
        **{f"seam.{k}": v for k, v in evidence.hashes.items()},
        **{f"seam.{k}": v for k, v in data_dvc(context.root).items()},
    }
    client.log_batch(run_id, tags=run_tags(tags))


def final_metrics(evidence: Evidence) -> dict[str, float]:
    """One number for each thing measured.

    Evaluate/<model>/accuracy, robustness/<model>/..., latency/<engine>/<model>/batch16/p50_ms.
    """
    found: dict[str, Any] = {
        f"search/final_{key}": evidence.search[key] for key in ("density", "val_accuracy", "rounds", "seconds")
    }
    models = {**evidence.evaluated, **evidence.evaluated["baselines"]}
    for model in MEASURED:
        for key in ("accuracy", "params_total", "params_nonzero", "density", "macs_dense", "macs_nonzero"):
            found[f"evaluate/{model}/{key}"] = models.get(model, {}).get(key)
        for key in ("robust_accuracy", "defect_inheritance_rate"):
            found[f"robustness/{model}/{key}"] = evidence.attacked.get(model, {}).get(key)
    for engine, result in evidence.latency.items():
        for model, batches in result.items() if "unavailable" not in result else ():
            for batch, measured in batches.items():
                found |= {f"latency/{engine}/{model}/{batch}/p{p}_ms": measured[f"latency_ms_p{p}"] for p in (50, 95)}
    return {key: float(value) for key, value in found.items() if value is not None}


def _dataset(context: StageContext, evidence: Evidence) -> DatasetInput:
    digest = evidence.hashes["dataset_sha256"]
    tags = {
        "mlflow.data.context": "training",
        "sha256": digest,
        "problem": context.name,
        **data_dvc(context.root),
    }
    profile = {key: value for key, value in evidence.split.items() if isinstance(value, int)}
    source = json.dumps({"uri": context.params.data.path, "kind": context.params.data.kind})
    dataset = Dataset(
        Path(context.params.data.path).stem or "data", digest[:32], "local", source, profile=json.dumps(profile)
    )
    return DatasetInput(dataset, [InputTag(key, value) for key, value in tags.items()])


def _log_files(
    context: StageContext, client: MlflowClient, run_id: str, out: Path, drawn: Sequence[Plot], evidence: Evidence
) -> None:
    """Report, card, mask pack, head, histories, figures and an int8 model that is good enough, as files of the run."""
    with tempfile.TemporaryDirectory() as folder:
        staging = Path(folder)
        for name in ("report.html", "card.json"):
            shutil.copyfile(out / name, staging / name)
        for name in ("mask.safetensors", "head.safetensors", "norms.safetensors", "history.csv", "frontier.csv"):
            shutil.copyfile(context.artifact("search", name), staging / name)
        if any(models["compacted"]["accepted"] for models in evidence.export.get("int8", {}).values()):
            shutil.copyfile(
                context.artifact("benchmark_latency", "int8/compacted.onnx"), staging / "compacted_int8.onnx"
            )
        for plot in drawn:
            write_text(staging / "figures" / f"{plot.name}.svg", plot.svg)
        client.log_artifacts(run_id, str(staging))


if __name__ == "__main__":
    main(register_model, __doc__)
