"""One MLflow run for a target, one registered version for its best student, the alias by the gates, and the card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from seam.checkpoint import digest_of
from seam.data.prepared import ImageData
from seam.errors import DataError
from seam.files import read_json, read_rows, sha256_file, write_json
from seam.measures.shipped import Claim
from seam.networks.source import Source
from seam.networks.state_dicts import load_weights
from seam.networks.student import Student, student
from tasks.inputs.target import target_data, transfer_source
from tasks.project.stage import StageContext, StageResult, main
from tasks.project.students import StudentName
from tasks.tracking.contest import Standing
from tasks.tracking.environment import data_dvc, made_with
from tasks.tracking.evidence import DataUsed, History, RunEvidence, metric_values
from tasks.tracking.gates import Verdict
from tasks.tracking.policy import POLICY, load_policy
from tasks.tracking.registration import Payload, RunFiles, register
from tasks.tracking.versions import ServedModel

_REPORTS = ("report.html", "comparison.json", "comparison.csv", "pareto.csv", "pareto.svg")


def register_transfer(context: StageContext) -> StageResult:
    """Log, register, publish card.json; run again after a kill, it finishes what is missing and repeats nothing.

    Where no student is of the method that is registered, the run is logged and nothing is
    registered.

    Raises:
        ConfigError: the registry policy is not valid.
        DataError: the student is not the one that was compared.
        TrackingError: the MLflow store cannot be used.
    """
    policy = load_policy(context.root / POLICY)
    comparison = read_json(context.artifact("compare_transfers", "comparison.json"))
    verdicts = [Verdict.from_dict(gate) for gate in comparison["gates"]]
    hashes = _hashes(context)
    chosen = comparison["registered"]
    served = None if chosen is None else served_student(context, chosen, policy.description)

    def publish(registration: Mapping[str, Any], out: Path) -> RunFiles:
        return _publish(context, comparison, hashes, registration, out)

    evidence = run_evidence(context, comparison, hashes)
    return register(context, Payload(evidence, verdicts, _standing(comparison, hashes), served, publish), policy)


def _standing(comparison: Mapping[str, Any], hashes: Mapping[str, str]) -> Standing:
    """What other versions are held against; of no images where nothing is registered."""
    chosen = comparison["registered"] or {"accuracy": 0.0, "num_images": 0}
    test = digest_of(hashes["dataset_sha256"], list(comparison["classes"]))
    return Standing.of(chosen, chosen["num_images"], test, attack=hashes["adversarial_sha256"])


def run_evidence(context: StageContext, comparison: Mapping[str, Any], hashes: Mapping[str, str]) -> RunEvidence:
    """What the target's run says beside its files."""
    data = DataUsed(
        context.params.targets[context.name],
        hashes["dataset_sha256"],
        {key: comparison[key] for key in ("num_train", "num_val", "num_test")},
    )
    histories = [
        History(f"transfer/history/{name.folder}", "epoch", rows)
        for name in context.params.transfer.students
        if (rows := _epochs(context, name))
    ]
    tags = {f"seam.{k}": v for k, v in hashes.items()}
    return RunEvidence(histories, final_metrics(comparison), data, tags)


def final_metrics(comparison: Mapping[str, Any]) -> dict[str, float]:
    """One number for each thing measured, called as in comparison.json.

    For example compare_transfers/methods/seam/accuracy/mean.
    """
    methods = {"methods": comparison["methods"]}
    return metric_values("compare_transfers", methods, ("mean", "sd", "difference"))


def served_student(context: StageContext, chosen: Mapping[str, Any], description: str) -> ServedModel:
    """The student that is registered, with the source's preprocessing.

    Args:
        context: of register_transfer.
        chosen: method, seed and student_sha256 of the student.
        description: of every version.

    Raises:
        DataError: the student is not the one that was compared.
    """
    source, data = transfer_source(context), target_data(context)
    name = StudentName(chosen["method"], chosen["seed"])
    images = context.params.targets[context.name]
    counted = context.folder("transfer", name) / "metrics.json"
    return ServedModel(
        name=context.whole.registered_name(context.params),
        made_of={
            "student_sha256": chosen["student_sha256"],
            **{key: getattr(source.info, key) for key in ("architecture", "mean", "std")},
            "image_shape": data.image_shape,
            "classes": data.classes,
            "image_size": images.image_size,
        },
        network=load_student(context, name, chosen["student_sha256"], source, data),
        claim=Claim(read_json(counted), str(counted), "run the stages transfer and compare_transfers again"),
        preprocess=source.preprocess(),
        classes=data.classes,
        image_shape=data.image_shape,
        image_size=images.image_size,
        exif=images.exif,
        example=data.x_train[:2],
        description=(
            f"{context.name}: {source.info.architecture} transferred by {chosen['method']}, {len(data.classes)}"
            f" classes. {description}"
        ),
        tags={"seam.source_sha256": source.info.sha256, "seam.student_sha256": chosen["student_sha256"]},
    )


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


def _epochs(context: StageContext, name: StudentName) -> list[dict[str, Any]]:
    """Loss and val accuracy of a student after each epoch; empty where there is no such student."""
    path = context.folder("transfer", name) / "history.csv"
    rows = [row for row in read_rows(path) if row["phase"] == "training"] if path.is_file() else []
    return [{key: row[key] for key in ("epoch", "loss", "val_accuracy")} for row in rows[1:]]


def _hashes(context: StageContext) -> dict[str, str]:
    return {
        "dataset_sha256": sha256_file(context.artifact("validate_target", "dataset.safetensors")),
        "source_sha256": sha256_file(context.artifact("fetch_source", "source.safetensors")),
        "adversarial_sha256": read_json(context.artifact("attack_target", "attack.json"))["sha256"][
            "adversarial.safetensors"
        ],
    }


def _publish(
    context: StageContext,
    comparison: Mapping[str, Any],
    hashes: Mapping[str, str],
    registration: Mapping[str, Any],
    out: Path,
) -> RunFiles:
    """Write the card; it, report, tables and plot are the run's files."""
    card = {
        **comparison,
        **registration,
        "params": context.params.model_dump(mode="json"),
        "hashes": {**hashes, **data_dvc(context.root)},
        **made_with(context.root),
    }
    write_json(out / "card.json", card)
    return {"card.json": out / "card.json"} | {n: context.artifact("compare_transfers", n) for n in _REPORTS}


if __name__ == "__main__":
    main(register_transfer, __doc__)
