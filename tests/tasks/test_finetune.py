"""finetune on the small project: what it publishes, what it doubts, and a teacher's features."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from seam.files import read_json, read_rows
from seam.hardware import in_words
from seam.masks.pack import load_mask_pack
from tasks.finetune import finetune
from tasks.project.stage import StageContext, execute
from tasks.project.subject import Subject

MODELS = ("reengineered_finetuned", "standard_finetuned")


@pytest.fixture
def project(registry_project: StageContext) -> StageContext:
    """The small project, split."""
    labels = (np.arange(12) % 3 != 0).astype(np.int64)
    parts = {"train": np.arange(8), "val": np.arange(8, 12), "test": np.arange(6)}
    tensors = {**parts, **{f"y_{name}": labels[rows] for name, rows in parts.items()}, "spare": np.arange(0)}
    save_file(tensors, registry_project.artifact("split_dataset", "splits.safetensors"))
    return registry_project


def finetuned(project: StageContext, **values: Any) -> dict[str, Any]:
    """What the stage publishes with these parameters."""
    changed = replace(project.params.finetune, **{"epochs": 2, "augment": "none", "negatives": "fixed", **values})
    runtime = replace(project.params.runtime, device="cpu", threads=1)
    params = project.params.model_copy(update={"finetune": changed, "runtime": runtime})
    context = StageContext("finetune", params, project.root, Subject("problem", "zero"))
    execute(finetune, context)
    return read_json(context.artifact("finetune", "metrics.json"))


def test_weights_may_leave_one_by_one(project: StageContext) -> None:
    finetuned(project, removed_weights="gradual", epochs=3)
    masks = load_mask_pack(project.artifact("search", "mask.safetensors")).masks
    weights = load_file(project.artifact("finetune", "reengineered_finetuned.safetensors"))
    kept = sum(int((weights[f"network.{name}"] != 0).sum()) for name in masks)
    assert kept == sum(int(m.sum()) for m in masks.values()) < sum(m.numel() for m in masks.values())


def test_the_epochs_that_were_kept_and_the_terms_of_the_loss(project: StageContext) -> None:
    metrics = finetuned(project, features=2.0, distill=0.5)
    rows = read_rows(project.artifact("finetune", "history.csv"))
    assert metrics["computed_on"] == in_words()
    for name in MODELS:
        history = [row for row in rows if row["model"] == name]
        best = max(row["val_accuracy"] for row in history)
        first = next(row["epoch"] for row in history if row["val_accuracy"] == best)
        assert metrics[name] == {"epoch": first, "val_accuracy": best, "lr": 0.005, "rates": []}
        assert [row["epoch"] for row in history] == [0, 1, 2]
        assert history[0]["cross_entropy"] == ""
    masked = [row for row in rows if row["model"] == MODELS[0] and row["epoch"]]
    assert all(row["loss"] > row["cross_entropy"] > 0 for row in masked)


def test_doubts_name_the_model_and_the_parameter(project: StageContext) -> None:
    """Rates so low that nothing changes: both keep epoch 0."""
    metrics = finetuned(project, lr=1e-12, lr_head=1e-12)
    kept = [text for text in metrics["warnings"] if "epoch 0 was kept" in text]
    assert [text.partition(":")[0] for text in kept] == list(MODELS)
    assert all(text.endswith("lower finetune.lr, finetune.lr_head or finetune.rates.") for text in kept)


def test_each_model_gets_the_rate_that_is_best_for_it(project: StageContext) -> None:
    """Of two, the best is at an end of the list, which is doubted."""
    metrics = finetuned(project, rates=(1e-9, 0.05), lr=0.1, lr_head=0.1, probe_epochs=2)
    for name in MODELS:
        low, high = metrics[name]["rates"]
        assert (low["lr"], high["lr"]) == (1e-9, 0.05)
        assert low["val_cross_entropy"] != high["val_cross_entropy"]
        better, end = (low, "lowest") if low["val_cross_entropy"] < high["val_cross_entropy"] else (high, "highest")
        assert metrics[name]["lr"] == better["lr"]
        assert (
            f"{name}: the best of 2 rates is the {end}, {better['lr']:g}: the list may end too early; add others to"
            " finetune.rates." in metrics["warnings"]
        )


def test_a_network_whose_features_cannot_teach_is_fine_tuned_by_the_labels_and_doubted(
    project: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seam.training.distillation.stage_ends", lambda _: ())
    metrics = finetuned(project, features=1.0, rates=(0.01, 0.05))  # each of which is tried
    doubts = [text for text in metrics["warnings"] if "features" in text]
    assert len(doubts) == 1
    assert doubts[0].startswith("reengineered_finetuned: features of the source as a teacher: expected images")
    assert doubts[0].endswith("got none: fine-tuning went on without them; set finetune.features to 0.")


def test_the_original_is_fine_tuned_by_the_labels_alone(project: StageContext) -> None:
    """What a teacher adds to the loss is in the history of the re-engineered model, and not in the other's."""
    finetuned(project, features=1.0, distill=1.0)
    rows = read_rows(project.artifact("finetune", "history.csv"))
    beyond = {name: [r for r in rows if r["model"] == name and r["loss"] != r["cross_entropy"]] for name in MODELS}
    assert beyond["reengineered_finetuned"]
    assert beyond["standard_finetuned"] == []
