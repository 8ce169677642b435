"""A small project whose stages before register_model have already run, with made-up results."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from seam.compaction import ENGINE_BLOCK, compact
from seam.data.prepared import ImageData, save_prepared
from seam.files import sha256_file, write_bytes, write_json
from seam.masks.masks import apply_masks, maskable
from seam.masks.pack import save_mask_pack
from seam.measures.macs import count
from seam.networks.build import build
from seam.networks.head import Reengineered, TargetHead
from seam.networks.norms import norm_tensors, save_norms
from seam.networks.source import SourceInfo, save_source
from seam.networks.state_dicts import save_weights
from tasks.inputs.splits import split_bytes
from tasks.project.params import Params, load_params, parse_params
from tasks.project.stage import StageContext
from tasks.project.subject import Subject
from tasks.register_model import register_model
from tests.defaults import give_registry

TINY = """
from torch import nn


def tiny(num_classes):
    body = (nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return nn.Sequential(*body, nn.Linear(16, num_classes))
"""
EXAMPLE = torch.zeros(1, 3, 8, 8)
CLASSES = ("zero", "one", "<two>")


def make_registry_project(root: Path, store: Path, network_code: str = TINY) -> StageContext:
    """Write params, policy, store and the artifacts of every stage before register_model."""
    give_registry(root, store)
    (root / "tiny.py").write_text(network_code)
    architecture = f"{root / 'tiny.py'}:tiny"
    values = {"problems": {"zero": ["zero"]}, "prepare_source": {"architecture": architecture}}
    (root / "params.yaml").write_text(json.dumps(values))
    params: Params = parse_params(values, "test")
    context = StageContext("register_model", params, root, Subject("problem", "zero"))
    _write_data(context)
    network = _write_source(context, architecture)
    whole = asdict(count(network, EXAMPLE))
    model = _write_search(context, network)
    _write_results(context, whole, model)
    return context


def register_there(root: Path) -> None:
    """Register the problem of such a project; for a new process, which a context does not travel to."""
    register_model(StageContext("register_model", load_params(root / "params.yaml"), root, Subject("problem", "zero")))


def _write_data(context: StageContext) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(12, dtype=np.int64) % 3
    images = rng.integers(0, 256, (12, 8, 8, 1), dtype=np.uint8)
    save_prepared(
        ImageData(images, labels, images[:6], labels[:6], CLASSES),
        context.artifact("validate_data", "dataset.safetensors"),
    )
    write_json(context.artifact("validate_data", "validation.json"), {"success": True})
    rows = {"train": [0, 1], "spare": [], "val": [2, 3], "test": [0, 1, 2, 3]}
    told = {f"y_{name}": [int(labels[row] != 0) for row in found] for name, found in rows.items()}
    arrays = {name: np.array(found, np.int64) for name, found in {**rows, **told}.items()}
    write_bytes(context.artifact("split_dataset", "splits.safetensors"), split_bytes(arrays, "train"))
    summary = {
        "problem": "zero",
        "classes": ["zero", "other"],
        "source_classes": list(CLASSES),
        "num_train": 6,
        "num_val": 2,
        "num_test": 4,
        "val_from": "train",
        "seed": 0,
    }
    write_json(context.artifact("split_dataset", "summary.json"), summary)


def _write_source(context: StageContext, architecture: str) -> nn.Module:
    torch.manual_seed(0)
    network = build(architecture, 3)
    folder = context.folder("prepare_source")
    folder.mkdir(parents=True)
    save_source(network, source_info(architecture, CLASSES), folder)
    return network


def source_info(architecture: str, classes: tuple[str, ...]) -> SourceInfo:
    """What is said of a source made up for small images of these classes."""
    return SourceInfo(
        architecture=architecture,
        num_classes=len(classes),
        classes=classes,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        image_shape=(8, 8, 1),
        params_total=163,
        trained_here=True,
        val_accuracy=0.9,
    )


def _write_search(context: StageContext, network: nn.Module) -> Reengineered:
    """Mask the network, in place; it with its head."""
    source_sha256 = sha256_file(context.artifact("prepare_source", "source.safetensors"))
    generator = torch.Generator().manual_seed(1)
    masks = {name: torch.rand(p.shape, generator=generator) < 0.25 for name, p in maskable(network).items()}
    context.folder("search").mkdir(parents=True)
    digest = save_mask_pack(masks, source_sha256, context.artifact("search", "mask.safetensors"))
    head = TargetHead(3, 2)
    for name in ("head", "head_only"):
        save_weights(head, context.artifact("search", f"{name}.safetensors"))
    save_norms(norm_tensors(network), context.artifact("search", "norms.safetensors"))
    context.folder("finetune").mkdir(parents=True)
    save_weights(Reengineered(network, head), context.artifact("finetune", "standard_finetuned.safetensors"))
    apply_masks(network, masks)
    save_weights(Reengineered(network, head), context.artifact("finetune", "reengineered_finetuned.safetensors"))
    rows = [f"{i},{0.9 - 0.2 * i},{1 - 0.25 * i},{0.5 + 0.1 * i},True" for i in range(4)]
    context.artifact("search", "history.csv").write_text(
        "\n".join(["round,cross_entropy,density,val_accuracy,accepted", *rows]) + "\n"
    )
    context.artifact("search", "frontier.csv").write_text("density,val_accuracy,round\n0.5,0.9,3\n0.25,0.8,3\n")
    context.artifact("search", "candidates").mkdir()
    for number, share in enumerate((0.5, 0.25)):
        cut = {name: torch.rand(p.shape, generator=generator) < share for name, p in maskable(network).items()}
        save_mask_pack(cut, source_sha256, context.artifact("search", f"candidates/{number}.safetensors"))
    finetuned = [
        f"{e},{m},{0.5 - 0.1 * e},{0.5 - 0.1 * e},{0.8 + 0.05 * e}"
        for m in ("reengineered_finetuned", "standard_finetuned")
        for e in range(2)
    ]
    context.artifact("finetune", "history.csv").write_text(
        "\n".join(["epoch,model,loss,cross_entropy,val_accuracy", *finetuned]) + "\n"
    )
    kept = {"epoch": 1, "val_accuracy": 0.85}
    write_json(
        context.artifact("finetune", "metrics.json"),
        {"reengineered_finetuned": kept, "standard_finetuned": kept, "warnings": ["standard_finetuned: a doubt"]},
    )
    about = {
        "density": 0.25,
        "val_accuracy": 0.8,
        "rounds": 4,
        "best_round": 3,
        "seconds": 1.5,
        "mask_sha256": digest,
        "source_val_accuracy": 0.9,
    }
    about |= {
        "head_only_val_accuracy": 0.9,
        "device": "cpu",
        "precision": "fp32",
        "threads": 1,
        "warnings": ["<script>doubt</script>"],
    }
    write_json(context.artifact("search", "metrics.json"), about)
    return Reengineered(network, head)


def _write_results(context: StageContext, whole: dict[str, Any], model: Reengineered) -> None:
    kept = asdict(count(model.network, EXAMPLE))

    def entry(accuracy: float, sizes: dict[str, Any]) -> dict[str, Any]:
        return {
            "accuracy": accuracy,
            **sizes,
            "accuracy_per_class": {"zero": accuracy, "other": accuracy},
            "num_images": 200,
        }

    evaluated = {
        "source": entry(0.95, whole),
        "reengineered": entry(0.94, kept),
        "standard_finetuned": entry(0.97, whole),
        "reengineered_finetuned": entry(0.96, kept),
    }
    evaluated_too = {
        "head_only": entry(0.955, whole),
        "restricted": entry(0.951, whole),
        "reengineered_refit": entry(0.945, kept),
    }
    evaluated_too |= {
        "adapted": entry(0.96, whole),
        "retrained": entry(0.9, whole),
        "random_mask": entry(0.555, kept),
        "magnitude_mask": entry(0.905, kept),
        "taylor_mask": entry(0.935, kept),
    }
    write_json(context.artifact("evaluate", "metrics.json"), {**evaluated, "baselines": evaluated_too, "warnings": []})
    rates = {"source": 0.8, "reengineered": 0.5, "standard_finetuned": 0.6, "reengineered_finetuned": 0.3}
    attacked = {
        name: {"accuracy": 0.95, "robust_accuracy": 1 - rate, "defect_inheritance_rate": rate}
        for name, rate in rates.items()
    }
    write_json(context.artifact("evaluate_robustness", "metrics.json"), attacked)
    write_json(
        context.artifact("evaluate_robustness", "attack.json"),
        {"input_space": "normalized", "eps_normalized": 0.1, "warnings": []},
    )

    def timing(p50: float) -> dict[str, Any]:
        return {
            f"batch{n}": {
                "latency_ms_p50": n * p50,
                "latency_ms_p95": n * p50 * 1.5,
                "num_threads": 1,
                "batch_size": n,
                "repeats": 100,
            }
            for n in (1, 16)
        }

    measured = {
        "deepsparse": {"unavailable": "not installed"},
        "onnxruntime": {"source": timing(0.5), "reengineered": timing(0.4)},
    }
    write_json(context.artifact("benchmark_latency", "metrics.json"), measured)
    chosen = context.params.register_model.model
    forms = {"reengineered": model, "compacted": compact(model, EXAMPLE, ENGINE_BLOCK).module}
    export = {
        "source": {"opset": 17, "model": "source", **whole},
        **{name: {"opset": 17, "model": chosen, **asdict(count(n, EXAMPLE))} for name, n in forms.items()},
        "hardware": {},
        "engines": {},
    }
    write_json(context.artifact("benchmark_latency", "export.json"), export)
    rows = [
        "density,macs,val_accuracy,onnxruntime_ms,deepsparse_ms",
        "1.0,7000,0.9,0.4,",
        "0.5,3500,0.9,0.3,",
        "0.25,1700,0.8,0.2,",
    ]
    context.artifact("benchmark_latency", "frontier.csv").write_text("\n".join(rows) + "\n")
