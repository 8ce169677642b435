"""One MLflow run for the problem, one registered version for the result, the alias by the gates, card and report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from seam.checkpoint import digest_of
from seam.data.prepared import load_prepared
from seam.files import write_json, write_text
from tasks.inputs.problem import load_compacted, load_model, problem_source
from tasks.project.stage import StageContext, StageResult, main
from tasks.provenance.pieces import save_pieces
from tasks.report.card import Evidence, build_card, read_evidence
from tasks.report.problem import plots, render_report
from tasks.tracking.claims import check_counts, exported_claim
from tasks.tracking.contest import Standing
from tasks.tracking.conversions import judge_conversions
from tasks.tracking.evidence import SEARCH_HISTORY, DataUsed, History, RunEvidence, metric_values
from tasks.tracking.gates import Verdict, judge
from tasks.tracking.policy import POLICY, load_policy
from tasks.tracking.registration import Payload, RunFiles, register
from tasks.tracking.versions import ServedModel

_SIZES = ("params_total", "params_nonzero", "density", "macs_dense", "macs_nonzero")
_SEARCHED = ("density", "val_accuracy", "rounds", "seconds", "cost_kept", "predicted_latency_ms_p50")
_SEARCH_FILES = ("mask.safetensors", "head.safetensors", "norms.safetensors", "history.csv", "frontier.csv")


def register_model(context: StageContext) -> StageResult:
    """Log, register, judge, publish; run again after a kill, it finishes what is missing and repeats nothing.

    Raises:
        ConfigError: the registry policy is not valid.
        DataError: the sizes that a stage published are not those of its networks.
        ExportError: the served file has other weights or multiply-adds than were published.
        TrackingError: the MLflow store cannot be used.
    """
    policy = load_policy(context.root / POLICY)
    check_counts(context)
    evidence = read_evidence(context)
    model = context.params.register_model.model
    verdicts = judge(policy, model, evidence.evaluated, evidence.attacked, chance(evidence.split))
    verdicts += judge_conversions(policy.conversion_gates, evidence.export.get("agreement", {}))

    def publish(registration: Mapping[str, Any], out: Path) -> RunFiles:
        return _publish(context, evidence, verdicts, registration, out)

    served = served_model(context, evidence, policy.description)

    def pieces(folder: Path) -> None:
        times = context.artifact("profile_source", "times.json")
        is_timed = context.params.search.cost == "milliseconds" and times.is_file()
        mask = context.artifact("search", "mask.safetensors")
        save_pieces(load_model(context, model), mask, folder, times if is_timed else None)

    payload = Payload(
        run_evidence(context, evidence), verdicts, standing(context, evidence), served, publish, pieces=pieces
    )
    result = register(context, payload, policy)
    measured = {name: evidence.evaluated[model][name] for name in ("accuracy", "density")}
    return context.result({**result.summary, **measured})


def chance(split: Mapping[str, Any]) -> float:
    """Test accuracy of always guessing the commonest class, by split_dataset/summary.json."""
    counts = split.get("counts", {}).get("test") or dict.fromkeys(split["classes"], 1)
    return float(max(counts.values()) / sum(counts.values()))


def standing(context: StageContext, evidence: Evidence) -> Standing:
    """What other versions are held against."""
    model = context.params.register_model.model
    entry = {**evidence.attacked.get(model, {}), **evidence.evaluated[model]}
    attack = asdict(context.params.evaluate_robustness)
    return Standing.of(
        entry,
        int(entry["num_images"]),
        digest_of(evidence.hashes["dataset_sha256"], list(evidence.split["classes"])),
        attack=digest_of(evidence.hashes["source_sha256"], attack),
        **_timed(evidence.export),
    )


def _timed(export: Mapping[str, Any]) -> dict[str, Any]:
    """Time and conditions of the largest batch on its fastest engine; nothing where the machine is not known."""
    machine, batches = export["hardware"].get("cpu"), export.get("fastest") or {}
    if machine is None or not batches:
        return {}
    batch = max(batches, key=lambda name: int(name.removeprefix("batch")))
    found = batches[batch]["reengineered"]
    timed = f"{found['engine']}, {batch}, {machine}"
    return {"milliseconds": float(found["latency_ms_p50"]), "timed": timed}


def run_evidence(context: StageContext, evidence: Evidence) -> RunEvidence:
    """What the problem's run says beside its files."""
    tuned = sorted({row["model"] for row in evidence.finetune_history})
    histories = [
        History(SEARCH_HISTORY, "round", evidence.history),
        *(
            History(f"finetune/history/{name}", "epoch", [r for r in evidence.finetune_history if r["model"] == name])
            for name in tuned
        ),
    ]
    profile = {key: value for key, value in evidence.split.items() if isinstance(value, int)}
    tags = {
        "seam.data": json.dumps(context.params.model_dump(mode="json")["data"]),
        "seam.runtime": json.dumps({name: evidence.search[name] for name in ("device", "precision", "threads")}),
        "seam.computed_on": evidence.search.get("computed_on", "not known"),
        **{f"seam.{k}": v for k, v in evidence.hashes.items()},
    }
    data = DataUsed(context.params.data, evidence.hashes["dataset_sha256"], profile)
    return RunEvidence(histories, final_metrics(evidence), data, tags)


def final_metrics(evidence: Evidence) -> dict[str, float]:
    """One number for each thing measured, called as in the stages' metrics.json.

    For example evaluate/source/accuracy, benchmark_latency/onnxruntime/source/batch16/latency_ms_p50.
    """
    return {
        **metric_values("search", evidence.search, _SEARCHED),
        **metric_values("evaluate", evidence.evaluated, ("accuracy", *_SIZES)),
        **metric_values(
            "evaluate_robustness", evidence.attacked, ("accuracy", "robust_accuracy", "defect_inheritance_rate")
        ),
        **metric_values("benchmark_latency", evidence.latency, ("latency_ms_p50", "latency_ms_p95")),
        **metric_values("agreement", evidence.export.get("agreement", {}), ("deviation", "labels_flipped")),
    }


def served_model(context: StageContext, evidence: Evidence, description: str) -> ServedModel:
    """The model that is registered, compacted, with its preprocessing."""
    source, params = evidence.source, context.params
    classes, model = evidence.split["classes"], params.register_model.model
    height, width, channels = source["image_shape"]
    return ServedModel(
        name=context.whole.registered_name(params),
        made_of={
            **{name: evidence.hashes[name] for name in ("source_sha256", "mask_sha256", "weights_sha256")},
            **{name: source[name] for name in ("architecture", "mean", "std", "image_shape")},
            "classes": classes,
            "image_size": params.data.image_size,
            "model": model,
            "form": "compacted",
        },
        network=load_compacted(context, model).module,
        claim=exported_claim(context),
        preprocess=problem_source(context).preprocess(),
        classes=classes,
        image_shape=(height, width, channels),
        image_size=params.data.image_size,
        exif=params.data.exif,
        example=load_prepared(context.artifact("validate_data", "dataset.safetensors")).x_train[:2],
        description=f"{context.name} ({', '.join(classes)}). {description}",
        tags={f"seam.{name}": evidence.hashes[name] for name in ("source_sha256", "mask_sha256", "weights_sha256")}
        | {
            f"seam.fastest.{batch}": winner(sides["reengineered"], evidence)
            for batch, sides in evidence.export.get("fastest", {}).items()
        },
    )


def winner(fastest: Mapping[str, Any], evidence: Evidence) -> str:
    """The engine to run this model on, and on which machine that was measured."""
    machine = evidence.export["hardware"].get("cpu", "unknown CPU")
    return f"{fastest['engine']}, {fastest['model']}: {fastest['latency_ms_p50']:.3g} ms on {machine}"


def _publish(
    context: StageContext, evidence: Evidence, verdicts: list[Verdict], registration: Mapping[str, Any], out: Path
) -> RunFiles:
    """Write card and report; these, mask pack, head, histories, figures and a good int8 model are the run's files."""
    card = build_card(context, evidence, verdicts, registration)
    drawn = plots(evidence, context.params.register_model.model)
    write_json(out / "card.json", card)
    write_text(out / "report.html", render_report(context, card, evidence, drawn))
    files: dict[str, Path | str] = {name: out / name for name in ("report.html", "card.json")}
    files |= {name: context.artifact("search", name) for name in _SEARCH_FILES}
    if any(models["compacted"]["accepted"] for models in evidence.export.get("int8", {}).values()):
        files["compacted_int8.onnx"] = context.artifact("benchmark_latency", "int8/compacted.onnx")
    return {**files, **{f"figures/{plot.name}.svg": plot.svg for plot in drawn}}


if __name__ == "__main__":
    main(register_model, __doc__)
