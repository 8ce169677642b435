"""evaluate on the small project: masks of one density, each with a head of its own, and what follows from the seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from seam.files import read_json, sha256_file
from seam.hardware import in_words
from seam.masks.masks import apply_masks
from seam.masks.pack import save_mask_pack
from seam.networks import source as source_module
from seam.networks.head import fit_head
from seam.networks.predict import accuracy, predict
from seam.networks.state_dicts import load_weights, save_weights
from tasks.evaluate import evaluate
from tasks.inputs.problem import problem_images, problem_masks, problem_source
from tasks.project.stage import StageContext
from tasks.project.stage_configs import EvaluateConfig
from tasks.project.subject import Subject
from tests.registry_project import TINY, make_registry_project

MASKS = ("reengineered_refit", "random_mask", "magnitude_mask", "taylor_mask")


WITH_NORM = TINY.replace("padding=1), ", "padding=1), nn.BatchNorm2d(4), ")


@pytest.fixture
def project(registry_project: StageContext) -> StageContext:
    """The small project, split, before its evaluation; one thread, nothing trained from scratch."""
    return before_evaluation(registry_project)


def before_evaluation(project: StageContext, **evaluate: int) -> StageContext:
    """The project's context of evaluate, after split_dataset."""
    changes = {
        "runtime": replace(project.params.runtime, device="cpu", threads=1),
        "evaluate": EvaluateConfig(**{"retrain_epochs": 0, **evaluate}),
    }
    context = StageContext(
        "evaluate", project.params.model_copy(update=changes), project.root, Subject("problem", "zero")
    )
    labels = (np.arange(12) % 3 != 0).astype(np.int64)
    parts = {"train": np.arange(8), "val": np.arange(8, 12), "test": np.arange(6)}
    tensors = {**parts, **{f"y_{name}": labels[rows] for name, rows in parts.items()}}
    save_file(tensors, context.artifact("split_dataset", "splits.safetensors"))
    return context


def measured(context: StageContext) -> dict[str, Any]:
    evaluate(context)
    return read_json(context.artifact("evaluate", "metrics.json"))


def refitted_accuracy(context: StageContext, masked: bool) -> float:
    """Of the source with a head fitted to its logits, computed here."""
    source = problem_source(context)
    if masked:
        apply_masks(source.network, problem_masks(context, source).masks)
    preprocess = source.preprocess()
    train, test = problem_images(context, "train"), problem_images(context, "test")
    head = fit_head(predict(source.network, train, preprocess), train.labels, 2)
    return accuracy(head(predict(source.network, test, preprocess)), test.labels)


def test_all_masks_have_the_searched_ones_density_and_the_keys_of_other_baselines(project: StageContext) -> None:
    metrics = measured(project)
    baselines = metrics["baselines"]
    assert set(baselines) == {"head_only", "restricted", *MASKS} and metrics["computed_on"] == in_words()
    for name in MASKS:
        assert baselines[name].keys() == baselines["head_only"].keys()
        assert baselines[name]["params_nonzero"] == metrics["reengineered"]["params_nonzero"]
        assert baselines[name]["density"] == metrics["reengineered"]["density"]
        assert baselines[name]["num_images"] == 6
    assert baselines["reengineered_refit"]["macs_nonzero"] == metrics["reengineered"]["macs_nonzero"]
    assert baselines["reengineered_refit"]["accuracy"] == refitted_accuracy(project, masked=True)
    assert not [text for text in metrics["warnings"] if "_mask" in text]


def test_a_mask_that_keeps_everything_gives_the_head_only_model(project: StageContext) -> None:
    source = problem_source(project)
    everything = {name: torch.ones_like(mask) for name, mask in problem_masks(project, source).masks.items()}
    save_mask_pack(everything, source.info.sha256, project.artifact("search", "mask.safetensors"))
    train = problem_images(project, "train")
    head = fit_head(predict(source.network, train, source.preprocess()), train.labels, 2)
    save_weights(head, project.artifact("search", "head_only.safetensors"))
    baselines = measured(project)["baselines"]
    for name in MASKS:
        assert baselines[name] == baselines["head_only"]
    assert baselines["head_only"]["accuracy"] == refitted_accuracy(project, masked=False)


def test_the_seed_changes_the_random_mask_alone(project: StageContext) -> None:
    first, again = measured(project), measured(project)
    assert first == again
    seen = set()
    for seed in range(1, 6):
        params = project.params.model_copy(update={"seed": seed})
        other = measured(StageContext("evaluate", params, project.root, Subject("problem", "zero")))
        seen.add(other["baselines"]["random_mask"]["macs_nonzero"])
        other["baselines"]["random_mask"] = first["baselines"]["random_mask"]
        assert other == first
    assert len(seen) > 1


def test_norm_layers_learn_with_every_mask_and_with_all_weights_alike(tmp_path: Path, empty_mlflow_store: Path) -> None:
    made = make_registry_project(tmp_path, empty_mlflow_store, WITH_NORM)
    adapted = measured(before_evaluation(made, adapt_epochs=5))["baselines"]
    assert set(adapted) == {"head_only", "restricted", "adapted", *MASKS}
    assert adapted["adapted"]["density"] == 1.0
    assert adapted["taylor_mask"]["density"] < 0.5
    fitted = measured(before_evaluation(made, adapt_epochs=0))["baselines"]
    assert set(fitted) == {"head_only", "restricted", *MASKS}
    assert any(adapted[name]["accuracy"] != fitted[name]["accuracy"] for name in MASKS)


def test_training_from_scratch_is_measured_when_asked_for_and_repeats(
    project: StageContext, registry_project: StageContext
) -> None:
    assert "retrained" not in measured(project)["baselines"]
    first, second = (
        measured(before_evaluation(registry_project, retrain_epochs=2))["baselines"]["retrained"] for _ in range(2)
    )
    assert first == second
    assert first["density"] == 1.0
    assert first["num_images"] == 6


def test_the_source_is_read_and_hashed_once(project: StageContext, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = project.artifact("prepare_source", "source.safetensors")
    hashed, read = [], []
    monkeypatch.setattr(source_module, "sha256_file", lambda path: (hashed.append(path), sha256_file(path))[1])
    monkeypatch.setattr(source_module, "load_weights", lambda net, path: (read.append(path), load_weights(net, path)))
    measured(project)
    assert hashed == [weights]
    assert read == [weights]
