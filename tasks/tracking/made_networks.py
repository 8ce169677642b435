"""Networks that were made of others, on the one road into the registry: patched, restructured, composed ones."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from seam.checkpoint import digest_of
from seam.data.prepared import load_prepared
from seam.files import read_json, sha256_file, write_json
from seam.measures.shipped import Claim
from seam.networks.source import Preprocess
from tasks.inputs.images import Images, project_images
from tasks.project.stage import StageContext, StageResult
from tasks.tracking.contest import Standing
from tasks.tracking.environment import data_dvc, made_with
from tasks.tracking.evidence import DataUsed, RunEvidence, metric_values
from tasks.tracking.gates import judge_network
from tasks.tracking.policy import POLICY, load_policy
from tasks.tracking.registration import Payload, RunFiles, register
from tasks.tracking.versions import ServedModel

_MEASURED = (
    *("accuracy", "precision", "recall", "f1", "rest", "val_accuracy", "latency_ms_p50"),
    *("params_total", "params_nonzero", "macs", "macs_dense", "macs_nonzero"),
)
"""Last keys of the numbers in metrics.json that MLflow shows."""
_PLAIN = re.compile(r"[a-z0-9_.-]{1,200}")
"""Names that are tags as they are."""


@dataclass(frozen=True)
class MadeNetwork:
    """What a stage made of other networks."""

    stage: str
    """That made it: the files in its folder are the run's, and what its metrics.json says is checked."""
    key: str
    """The entry of metrics.json with its figures; counts there are held against the served file."""
    against: str
    """The entry of metrics.json that the gates compare it with."""
    network: nn.Module
    """Normalised images to logits of the classes, eval mode, on the CPU."""
    preprocess: Preprocess
    classes: Sequence[str]
    hashes: Mapping[str, str]
    """Name -> sha256 of all that it is made of: a tag each, on the card, and what tells it from others."""
    about: str
    """In words, for the registry."""
    refused: str | None = None
    """Why it is not registered at all; None: it is."""
    images: Images | None = None
    """That it takes; None: those of the project."""


def register_made(context: StageContext, made: MadeNetwork) -> StageResult:
    """Log, register, judge, publish card.json; run again after a kill, it finishes what is missing.

    Raises:
        ConfigError: the registry policy is not valid.
        ExportError: the served file has other weights or multiply-adds than the stage says.
        TrackingError: the MLflow store cannot be used.
    """
    policy = load_policy(context.root / POLICY)
    metrics = read_json(context.artifact(made.stage, "metrics.json"))
    images = made.images or project_images(context)
    hashes = {"dataset_sha256": sha256_file(images.dataset), **made.hashes}
    result, before, num_test = metrics[made.key], metrics[made.against], metrics["num_test"]
    chance = _chance(result, images)
    verdicts = judge_network(policy, result, before, made.against, num_test, chance)

    def publish(registration: Mapping[str, Any], out: Path) -> RunFiles:
        card = {
            **registration,
            "not_registered": made.refused,
            **metrics,
            "params": context.params.model_dump(mode="json"),
            "hashes": {**hashes, **data_dvc(context.root)},
            **made_with(context.root),
        }
        write_json(out / "card.json", card)
        shown = [f for f in context.folder(made.stage).iterdir() if f.suffix in (".json", ".html", ".svg", ".yaml")]
        return {"card.json": out / "card.json"} | {file.name: file for file in shown}

    served = None if made.refused else _served(context, made, images, metrics, policy.description)
    profile: dict[str, int] = {str(key): metrics[key] for key in ("num_val", "num_test") if key in metrics}
    data = DataUsed(images.config, hashes["dataset_sha256"], profile)
    sizes = {key: metrics[key] for key in (made.key, made.against)}
    tags = {tag_name(name): value for name, value in hashes.items()}
    evidence = RunEvidence([], metric_values(made.stage, sizes, _MEASURED), data, tags)
    standing = _standing(made, metrics, hashes)
    return register(context, Payload(evidence, verdicts, standing, served, publish), policy)


def _chance(result: Mapping[str, Any], images: Images) -> float:
    """Test accuracy of always guessing the commonest class: by the confusion matrix, or by the data set."""
    of_each = [sum(row) for row in result.get("confusion", ())]
    counts = of_each or np.bincount(load_prepared(images.dataset).y_test).tolist()
    return float(max(counts) / sum(counts))


def _standing(made: MadeNetwork, metrics: Mapping[str, Any], hashes: Mapping[str, str]) -> Standing:
    """What other versions are held against."""
    data = {name: value for name, value in hashes.items() if name.endswith("dataset_sha256")}
    test = digest_of(data, list(made.classes), metrics["num_test"])
    result, conditions = metrics[made.key], metrics.get("conditions", {})
    timed = json.dumps(conditions, sort_keys=True)
    time = {"milliseconds": result.get("latency_ms_p50"), "timed": timed} if conditions else {}
    return Standing.of(result, metrics["num_test"], test, **time)


def tag_name(name: str) -> str:
    """The tag in MLflow for a hash's name, which may hold the path of a folder: seam.source_sha256.

    Whatever a store may refuse or not tell apart (slashes, capitals, length) is replaced, and a hash of
    the name added behind a colon, so that different names are different tags.
    """
    if _PLAIN.fullmatch(name):
        return f"seam.{name}"
    readable = re.sub(r"[^a-z0-9_.-]+", "-", name.lower())[-100:].strip("-")
    return f"seam.{readable}:{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _served(
    context: StageContext, made: MadeNetwork, images: Images, metrics: Mapping[str, Any], description: str
) -> ServedModel:
    """As consumers get it; the hashes of its parts are tags of the version too."""
    data = load_prepared(images.dataset)
    where = context.artifact(made.stage, "metrics.json")
    return ServedModel(
        name=context.whole.registered_name(context.params),
        made_of={
            **made.hashes,
            "scale": made.preprocess.scale.flatten().tolist(),
            "shift": made.preprocess.shift.flatten().tolist(),
            "classes": list(made.classes),
            "image_shape": list(data.image_shape),
            "image_size": images.config.image_size,
        },
        network=made.network,
        claim=Claim(metrics[made.key], str(where), f"run the stage {made.stage} again"),
        preprocess=made.preprocess,
        classes=made.classes,
        image_shape=data.image_shape,
        image_size=images.config.image_size,
        exif=images.config.exif,
        example=data.x_test[:2],
        description=f"{context.name}: {made.about}. {description}",
        tags={tag_name(name): value for name, value in made.hashes.items()},
    )
