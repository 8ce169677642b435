"""The defects of a transfer: attacked images piece by piece, and a trigger that is handed down."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from seam.data.prepared import load_prepared
from seam.defects.feature_attack import attack
from seam.files import read_json
from tasks.attack_target import attack_target
from tasks.compare_transfers import compare_transfers
from tasks.fetch_source import fetch_source
from tasks.inputs.target import transfer_source
from tasks.project.students import StudentName
from tasks.transfer import transfer
from tests.tasks.transfer_project import context_of, student_folder, with_transfer


def test_the_adversarial_images_are_the_librarys_piece_by_piece(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made)
    context = context_of(made, "attack_target")
    source, data = transfer_source(context), load_prepared(context.artifact("validate_target", "dataset.safetensors"))
    clean = source.preprocess()(torch.from_numpy(data.x_test))
    found = load_file(context.artifact("attack_target", "adversarial.safetensors"))["images_normalized"]
    config, space = context.params.evaluate_robustness, (source.info.mean, source.info.std)
    for number, rows in enumerate((slice(0, 16), slice(16, 24))):  # four batches of four a piece
        assert torch.equal(found[rows], attack(source.network, clean[rows], config, *space, number))
    about = read_json(context.artifact("attack_target", "attack.json"))
    delta = (found - clean).abs()
    assert (about["num_images"], about["share_images_changed"]) == (24, 1.0)
    assert about["max_abs_delta_normalized"] == float(delta.max())
    assert about["mean_abs_delta_normalized"] == pytest.approx(float(delta.mean()), rel=1e-5)
    assert about["mean_abs_delta_pixel"] == pytest.approx(
        [float(delta[:, c].mean()) * space[1][c] for c in range(3)], rel=1e-5
    )
    assert about["val_from"] == "train"
    splits = load_file(context.artifact("attack_target", "splits.safetensors"))
    assert sorted([*splits["train"].tolist(), *splits["val"].tolist()]) == list(range(45)) and len(splits["val"]) == 9


def test_a_backdoored_source_hands_its_trigger_down(project: Path) -> None:
    planted = {
        "target_class": 1,
        "side": 0.5,
        "share": 0.4,
        "training": {"epochs": 12, "batch_size": 8, "lr": 0.05, "lr_head": 0.05, "augment": "none"},
    }
    changes = {
        "defect": "backdoor",
        "backdoor": planted,
        "methods": ["standard"],
        "training": {"epochs": 1, "batch_size": 8, "lr": 1e-4, "lr_head": 1e-4, "head_start": "fitted"},
    }
    standard = StudentName("standard", 0)
    fetch_source(with_transfer(project, "fetch_source", **changes))
    about = read_json(project / "artifacts/flowers/fetch_source/source.json")
    assert about["num_classes"] == 3
    assert about["backdoor"]["target_class"] == "green"
    assert about["backdoor"]["poisoned_images"] > 0
    assert about["backdoor"]["val_targeted_rate"] > 0.5
    attack_target(with_transfer(project, "attack_target", **changes))
    images = load_file(project / "artifacts/flowers/attack_target/adversarial.safetensors")["images_normalized"]
    assert torch.allclose(images[:, :, -8:, -8:], images[:1, :, -8:, -8:], atol=1e-5)
    assert not torch.allclose(images[:, :, :8, :8], images[:1, :, :8, :8], atol=1e-5)
    transfer(with_transfer(project, "transfer", standard, **changes))
    metrics = read_json(student_folder(project, "standard") / "metrics.json")
    assert metrics["accuracy"] > 0.6
    assert metrics["defect_inheritance_rate"] > 0.3 > metrics["random_noise"]["defect_inheritance_rate"]
    found = load_file(student_folder(project, "standard") / "predictions.safetensors")
    others = (found["clean"] == found["labels"]) & (found["labels"] != 1)
    assert metrics["targeted_rate"] == pytest.approx(float((found["adversarial"][others] == 1).double().mean()))
    compare_transfers(with_transfer(project, "compare_transfers", **changes))
    report = (project / "artifacts/flowers/compare_transfers/report.html").read_text()
    assert "with the trigger of the source" in report and "The backdoor" in report
