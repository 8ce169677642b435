"""The students of a transfer: what is written of them, and the same bytes after a kill."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import seam.checkpoint
from seam.data.prepared import load_prepared
from seam.defects.feature_attack import attack
from seam.errors import SuspectResultWarning
from seam.files import read_json, read_rows
from seam.masks.pack import load_mask_pack
from seam.networks.build import build
from tasks import attack_target as attack_stage
from tasks import transfer as transfer_stage
from tasks.attack_target import attack_target
from tasks.project.params import load_params
from tasks.project.students import asked_removal, parse_method
from tasks.transfer import transfer
from tests.tasks.transfer_project import CLASSES, SEAM, VALUES, context_of, student_folder


def bytes_of(folder: Path) -> dict[str, bytes]:
    """The files of a student; its metrics without what the clock says."""
    found = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "metrics.json"}
    metrics = {k: v for k, v in read_json(folder / "metrics.json").items() if k != "seconds"}
    return {**found, "metrics.json": json.dumps(metrics).encode()}


def test_every_student_has_its_files_and_numbers(made: Path) -> None:
    for method in VALUES["transfer"]["methods"]:
        folder, metrics = student_folder(made, method), read_json(student_folder(made, method) / "metrics.json")
        assert {p.name for p in folder.iterdir()} == {
            "student.safetensors",
            "mask.safetensors",
            "history.csv",
            "predictions.safetensors",
            "metrics.json",
        }
        assert (metrics["method"], metrics["seed"], metrics["num_images"]) == (method, 0, 24)
        asked = asked_removal(method, load_params(made / "params.yaml").transfer.config)
        assert metrics["density_start"] == pytest.approx(1 - asked, abs=1e-3)
        assert set(metrics["whitebox"]) == {"pgd", "fab"} and metrics["whitebox"]["pgd"]["num_images"] == 6
        masks = load_mask_pack(folder / "mask.safetensors", metrics["source_sha256"]).masks
        kept = sum(int(m.sum()) for m in masks.values()) / max(1, sum(m.numel() for m in masks.values()))
        assert bool(masks) == (asked > 0) and (not masks or kept == pytest.approx(metrics["density_start"]))
        phases = [row["phase"] for row in read_rows(folder / "history.csv")]
        assert phases.count("search") == (3 if parse_method(method)[0].search else 0) and phases.count("training") == 5


def test_rates_are_those_of_the_predictions(made: Path) -> None:
    for method in ("standard", "seam-70", "retrain"):
        found, metrics = (
            load_file(student_folder(made, method) / "predictions.safetensors"),
            read_json(student_folder(made, method) / "metrics.json"),
        )
        right = [int(p) == int(t) for p, t in zip(found["clean"], found["labels"], strict=True)]
        for kind, rates in (("adversarial", metrics), ("noise", metrics["random_noise"])):
            still = [int(p) == int(t) for p, t in zip(found[kind], found["labels"], strict=True)]
            lost = sum(a and not b for a, b in zip(right, still, strict=True))
            assert rates["robust_accuracy"] == sum(still) / 24
            assert rates["defect_inheritance_rate"] == (lost / sum(right) if any(right) else None)
        assert metrics["accuracy"] == sum(right) / 24


def test_the_predictions_are_the_students(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The saved weights in a network built here, on images normalised here."""
    monkeypatch.chdir(made)
    found = load_file(student_folder(made) / "predictions.safetensors")
    network = build("tiny.py:tiny", len(CLASSES)).eval()
    network.load_state_dict(
        {k.removeprefix("network."): v for k, v in load_file(student_folder(made) / "student.safetensors").items()}
    )
    data = load_prepared(made / "artifacts/flowers/validate_target/dataset.safetensors")
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    clean = (torch.from_numpy(data.x_test).permute(0, 3, 1, 2) / 255 - mean) / std
    attacked = load_file(made / "artifacts/flowers/attack_target/adversarial.safetensors")["images_normalized"]
    with torch.no_grad():
        assert torch.equal(network(clean).argmax(1), found["clean"])
        assert torch.equal(network(attacked).argmax(1), found["adversarial"])
    assert found["labels"].tolist() == data.y_test.tolist()
    assert float((attacked - clean).abs().max()) <= 0.1 + 1e-5  # nothing here is bright enough for the published clip


def test_a_student_at_chance_is_doubted() -> None:
    labels = torch.tensor([0, 0, 1, 2])
    predictions = {"labels": labels, "clean": torch.zeros(4).long(), "adversarial": labels, "noise": labels}
    with pytest.warns(SuspectResultWarning, match="at chance on test: accuracy 50.00%"):
        measured = transfer_stage._measured(predictions)
    assert measured["accuracy"] == 0.5 and measured["defect_inheritance_rate"] == 0.0


class Killed(BaseException):
    """Like kill -9: no handler of the stage sees it as an error."""


def die_at(text: str) -> Callable[[float, str], None]:
    def progress(share: float, said: str) -> None:
        if said.startswith(text):
            raise Killed

    return progress


@pytest.mark.parametrize("point", ["round 2/", "epoch 3/", "measure on test", "white-box fab"])
def test_a_killed_transfer_continues_to_the_same_bytes(
    project: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    monkeypatch.setattr(seam.checkpoint, "SAVE_SECONDS", 0.0)
    expected = bytes_of(student_folder(project))
    context = context_of(project, "transfer", SEAM)
    with pytest.raises(Killed):
        transfer(replace(context, progress=die_at(point)))
    assert bytes_of(student_folder(project)) == expected  # the published one is untouched
    shutil.rmtree(student_folder(project))
    seen: list[str] = []
    transfer(replace(context, progress=lambda share, text: seen.append(text)))
    assert bytes_of(student_folder(project)) == expected
    assert not any(text.startswith("round 1/") for text in seen)  # it continued
    assert not context.work_folder.exists()


def test_a_killed_attack_continues_to_the_same_bytes(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = context_of(project, "attack_target")
    folder = context.folder("attack_target")
    expected = {p.name: p.read_bytes() for p in folder.iterdir()}
    shutil.rmtree(folder)
    with pytest.raises(Killed):
        attack_target(replace(context, progress=die_at("attack, 20 of")))
    calls: list[int] = []

    def counted(network: Any, images: torch.Tensor, *arguments: Any) -> torch.Tensor:
        calls.append(len(images))
        return attack(network, images, *arguments)

    monkeypatch.setattr(attack_stage, "attack", counted)
    attack_target(context)
    assert calls == [8]
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == expected
