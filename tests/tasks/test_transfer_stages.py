"""The stages of a transfer on a tiny network and tiny images.

What they write, resume after kills, refuse, compare and register.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.pyfunc import load_model
from PIL import Image
from safetensors.torch import load_file, save_file

import seam.checkpoint
from seam.data.prepared import load_prepared
from seam.defects.feature_attack import attack
from seam.errors import DataError, SeamError, SourceError, SuspectResultWarning
from seam.files import read_json, read_rows, write_json
from seam.masks.pack import load_mask_pack
from seam.methods.catalogue import STUDENTS, names
from seam.networks.build import build
from tasks import attack_target as attack_stage
from tasks import transfer as transfer_stage
from tasks.attack_target import attack_target
from tasks.compare_transfers import compare_transfers
from tasks.fetch_source import fetch_source
from tasks.inputs.target import transfer_source
from tasks.project import stage as stage_module
from tasks.project.environment import tracking_uri
from tasks.project.params import load_params, parse_params
from tasks.project.stage import StageContext, execute
from tasks.project.students import StudentName, asked_removal, parse_method
from tasks.project.subject import Subject
from tasks.register_transfer import register_transfer
from tasks.transfer import transfer
from tasks.validate_target import validate_target
from tests.defaults import POLICY

CLASSES = ("blue", "green", "red")
SEAM = StudentName("seam-70", 0)
NETWORK = """
from torch import nn


def tiny(num_classes):
    def block(inputs, outputs):
        return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes)]
    return nn.Sequential(*block(3, 8), *block(8, 8), nn.MaxPool2d(2), *block(8, 8), *pooled)
"""
TRAINING = {"epochs": 4, "batch_size": 8}
VALUES: dict[str, Any] = {
    "problems": {"a": ["x"]},
    "runtime": {"device": "cpu", "precision": "fp32", "threads": 1},
    "evaluate_robustness": {"batch_size": 4, "steps": 3},
    "targets": {"flowers": {"kind": "image_folder", "path": "flowers", "image_size": 16}},
    "transfer": {
        "methods": [*names(STUDENTS), "seam-70"],
        "architecture": "tiny.py:tiny",
        "checkpoint": "tiny.safetensors",
        "num_classes": 7,
        "search": {"rounds": 3, "batch_size": 8},
        "training": TRAINING,
        "retrain": {**TRAINING, "momentum": 0.9},
        "whitebox": {"steps": 2, "fab_steps": 2},
        "whitebox_images": 6,
        "fab": True,
    },
}


def make_images(root: Path) -> None:
    """Three classes that their colour tells apart: 15 images of each to train on, 8 to test on."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 15), ("test", 8)):
        for number, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 140, (16, 16, 3))
                pixels[..., 2 - number] += 60
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")


def context_of(root: Path, stage: str, student: StudentName | None = None, **changes: Any) -> StageContext:
    params = parse_params({**VALUES, **changes}, "test")
    return StageContext(stage, params, root, Subject("target", "flowers", student))


def with_transfer(root: Path, stage: str, student: StudentName | None = None, **changes: Any) -> StageContext:
    return context_of(root, stage, student, transfer={**VALUES["transfer"], **changes})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with every stage of the target `flowers` done but register_transfer; tests copy it."""
    root = tmp_path_factory.mktemp("transfer") / "project"
    make_images(root / "flowers")
    (root / "tiny.py").write_text(NETWORK)
    (root / "params.yaml").write_text(json.dumps(VALUES))
    (root / "mlflow").mkdir()
    (root / "mlflow" / "registry.yaml").write_text(POLICY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        torch.manual_seed(0)
        save_file(build("tiny.py:tiny", 7).state_dict(), root / "tiny.safetensors")
        for stage in (validate_target, fetch_source, attack_target):
            stage(context_of(root, stage.__name__))
        for name in context_of(root, "transfer").params.transfer.students:
            transfer(context_of(root, "transfer", name))
        compare_transfers(context_of(root, "compare_transfers"))
    return root


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project, and the working directory in it."""
    root = tmp_path / "project"
    shutil.copytree(made, root)
    monkeypatch.chdir(root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return root


def student_folder(root: Path, method: str = SEAM.method) -> Path:
    return root / "artifacts" / "flowers" / "students" / f"{method}-seed0"


def bytes_of(folder: Path) -> dict[str, bytes]:
    """The files of a student; its metrics without what the clock says."""
    found = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "metrics.json"}
    metrics = {k: v for k, v in read_json(folder / "metrics.json").items() if k != "seconds"}
    return {**found, "metrics.json": json.dumps(metrics).encode()}


# what is written


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
    splits = load_file(context.artifact("attack_target", "splits.safetensors"))
    assert sorted([*splits["train"].tolist(), *splits["val"].tolist()]) == list(range(45)) and len(splits["val"]) == 9


# what the comparison says


def test_the_comparison_is_recomputed_by_hand(project: Path) -> None:
    """Two seeds of two methods, with made-up answers of four images."""
    labels = torch.zeros(4, dtype=torch.long)
    made_up = {  # method -> for each seed (right when clean, right when attacked)
        "standard": [([1, 1, 1, 1], [0, 0, 1, 1]), ([1, 1, 1, 0], [0, 0, 0, 0])],
        "seam-70": [([1, 1, 1, 0], [1, 1, 1, 0]), ([1, 1, 0, 0], [1, 0, 0, 0])],
        "retrain": [([1, 0, 0, 0], [1, 0, 0, 0]), ([1, 0, 0, 0], [1, 0, 0, 0])],
    }
    template = read_json(student_folder(project, "standard") / "metrics.json")
    for method, seeds in made_up.items():
        for seed, (clean, attacked) in enumerate(seeds):
            folder = project / "artifacts/flowers/students" / f"{method}-seed{seed}"
            folder.mkdir(exist_ok=True)
            save_file(
                {"labels": labels, "clean": 1 - torch.tensor(clean), "adversarial": 1 - torch.tensor(attacked)},
                folder / "predictions.safetensors",
            )
            right, robust = sum(clean), sum(attacked)
            lost = sum(a > b for a, b in zip(clean, attacked, strict=True))
            rates = {
                "accuracy": right / 4,
                "robust_accuracy": robust / 4,
                "defect_inheritance_rate": lost / right,
                "num_images": 4,
            }
            write_json(
                folder / "metrics.json",
                {**template, **rates, "method": method, "seed": seed, "val_accuracy": 0.5 + 0.1 * seed},
            )
    compare_transfers(with_transfer(project, "compare_transfers", methods=list(made_up), seeds=[0, 1]))
    comparison = read_json(project / "artifacts/flowers/compare_transfers/comparison.json")
    standard, ours, scratch = (comparison["methods"][m] for m in made_up)
    assert standard["accuracy"] == {"mean": 0.875, "sd": pytest.approx(0.125 * 2**0.5)}
    assert standard["defect_inheritance_rate"]["mean"] == 0.75  # 2 of 4, 3 of 3
    assert ours["defect_inheritance_rate"]["mean"] == 0.25  # 0 of 3, 1 of 2
    assert scratch["defect_inheritance_rate"] == {"mean": 0.0, "sd": 0.0}
    assert ours["against_standard"]["accuracy"]["difference"] == 0.625 - 0.875
    assert ours["against_standard"]["defect_inheritance_rate"] is None  # too few images: undefined in some draws
    assert "above_floor" not in scratch and "against_standard" not in standard
    assert (comparison["registered"]["method"], comparison["registered"]["seed"]) == ("seam-70", 1)  # the best on val
    assert [g["passed"] for g in comparison["gates"]] == [False, False]  # 0.5 against 0.875; 0.5 of 0.75 is too much
    assert any("no interval is given" in text for text in comparison["warnings"])


def test_tables_and_report_of_all_methods(made: Path) -> None:
    folder = made / "artifacts/flowers/compare_transfers"
    rows = read_rows(folder / "comparison.csv")
    assert [row["method"] for row in rows] == VALUES["transfer"]["methods"]
    for row in rows:
        metrics = read_json(student_folder(made, row["method"]) / "metrics.json")
        assert (
            row["accuracy"] == metrics["accuracy"]
            and row["noise"] == metrics["random_noise"]["defect_inheritance_rate"]
        )
        assert row["pgd"] == metrics["whitebox"]["pgd"]["robust_accuracy"]
    assert {row["removal"] for row in read_rows(folder / "pareto.csv")} == {0, 0.1, 0.5, 0.7}
    page = (folder / "report.html").read_text()
    assert (
        "SeaM, 70% removed" in page and "<svg role=" in page and "http://" not in page.replace("http://www.w3.org", "")
    )
    assert (folder / "pareto.svg").read_text().lstrip().startswith("<?xml")


def test_a_missing_student_is_named_and_none_at_all_is_an_error(project: Path) -> None:
    shutil.rmtree(student_folder(project, "remos"))
    compare_transfers(context_of(project, "compare_transfers"))
    comparison = read_json(project / "artifacts/flowers/compare_transfers/comparison.json")
    assert "remos" not in comparison["methods"] and comparison["warnings"][-1].startswith(
        "remos seed 0: there is no such student"
    )
    shutil.rmtree(project / "artifacts/flowers/students")
    with pytest.raises(
        DataError, match="target 'flowers': expected students to compare, got none; run the stage transfer"
    ):
        compare_transfers(context_of(project, "compare_transfers"))


def test_doubts_of_a_student_reach_the_comparison(project: Path) -> None:
    path = student_folder(project, "remos") / "metrics.json"
    write_json(path, {**read_json(path), "warnings": ["<b>chance</b>"]})
    compare_transfers(context_of(project, "compare_transfers"))
    folder = project / "artifacts/flowers/compare_transfers"
    assert "remos seed 0: <b>chance</b>" in read_json(folder / "comparison.json")["warnings"]
    assert "remos seed 0: &lt;b&gt;chance&lt;/b&gt;" in (folder / "report.html").read_text()


def test_a_student_at_chance_is_doubted() -> None:
    labels = torch.tensor([0, 0, 1, 2])
    predictions = {"labels": labels, "clean": torch.zeros(4).long(), "adversarial": labels, "noise": labels}
    with pytest.warns(SuspectResultWarning, match="at chance on test: accuracy 50.00%"):
        measured = transfer_stage._measured(predictions)
    assert measured["accuracy"] == 0.5 and measured["defect_inheritance_rate"] == 0.0


# kills


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


# what is refused


@pytest.mark.parametrize(
    ("file", "error", "line"),
    [
        (
            "fetch_source/source.safetensors",
            SourceError,
            r"source.safetensors: expected sha256 \w+, got \w+; run the stage fetch_source again",
        ),
        (
            "attack_target/adversarial.safetensors",
            DataError,
            "adversarial.safetensors: expected what attack_target publishes, got|the file was altered",
        ),
        (
            "attack_target/splits.safetensors",
            DataError,
            "splits.safetensors: expected what attack_target publishes, got|the file was altered",
        ),
        ("validate_target/dataset.safetensors", DataError, "run the stage validate_target again"),
    ],
)
def test_inputs_that_were_altered_are_refused(project: Path, file: str, error: type[SeamError], line: str) -> None:
    path = project / "artifacts/flowers" / file
    content = bytearray(path.read_bytes())
    if "dataset" in file:
        content = content[:100]
    else:
        content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(error, match=line) as caught:
        execute(transfer, context_of(project, "transfer", SEAM))
    assert "\n" not in str(caught.value)


def test_an_attack_on_another_source_is_refused(project: Path) -> None:
    torch.manual_seed(1)
    save_file(build("tiny.py:tiny", 7).state_dict(), project / "tiny.safetensors")
    fetch_source(context_of(project, "fetch_source"))
    with pytest.raises(DataError, match=r"made from the source with sha256 .*; run the stage attack_target again"):
        transfer(context_of(project, "transfer", SEAM))
    attack_target(context_of(project, "attack_target"))
    with pytest.raises(
        DataError, match=r"students/standard-seed0: made from the source with sha256 .*; run the stage transfer again"
    ):
        compare_transfers(context_of(project, "compare_transfers"))


def test_altered_answers_and_students_are_refused(project: Path, empty_mlflow_store: Path) -> None:
    shutil.copyfile(empty_mlflow_store, project / "mlflow/mlflow.db")
    path = student_folder(project) / "predictions.safetensors"
    answers = load_file(path)
    save_file({**answers, "clean": (answers["clean"] + 1) % 3}, path)
    with pytest.raises(
        DataError, match=r"predictions\.safetensors: expected the answers that metrics.json was made of, got others"
    ):
        compare_transfers(context_of(project, "compare_transfers"))
    weights = student_folder(project, "seam") / "student.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
    with pytest.raises(DataError, match="expected the student that was compared"):
        register_transfer(context_of(project, "register_transfer"))


@pytest.mark.parametrize(
    ("stage", "changes", "line"),
    [
        ("fetch_source", {"checkpoint": "none.safetensors"}, "none.safetensors: no such checkpoint file"),
        ("fetch_source", {"num_classes": 9}, "check the architecture and the number of classes"),
        (
            "fetch_source",
            {"checkpoint": "models:/net"},
            "expected models:/NAME/VERSION or models:/NAME@ALIAS; correct transfer.checkpoint",
        ),
        (
            "fetch_source",
            {"architecture": "tiny.py:none"},
            "architecture 'tiny.py:none': expected none\\(num_classes=7\\) to build a network",
        ),
    ],
)
def test_a_source_that_cannot_be_had_is_one_line(project: Path, stage: str, changes: dict[str, Any], line: str) -> None:
    with pytest.raises(SeamError, match=line) as caught:
        execute(fetch_source, with_transfer(project, stage, **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "section", "line"),
    [
        (StudentName("standard", 0), "training", r"lower transfer\.training\.lr or transfer\.training\.lr_head\.$"),
        (StudentName("retrain", 0), "retrain", r"lower transfer\.retrain\.lr or transfer\.retrain\.lr_head\.$"),
        (SEAM, "search", r"lower transfer\.search\.lr_head or transfer\.search\.lr_scores\.$"),
    ],
)
def test_a_loss_that_is_not_finite_names_the_rates_of_that_student(
    project: Path, name: StudentName, section: str, line: str
) -> None:
    rates = {"lr_head": 3e37} if section == "search" else {"lr": 1e30, "lr_head": 1e30}
    changed = {**VALUES["transfer"].get(section, {}), **rates}
    with pytest.raises(SeamError, match=line) as caught:
        execute(transfer, with_transfer(project, "transfer", name, **{section: changed}))
    assert "expected a finite number" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_images_that_the_source_does_not_take_are_one_line(project: Path) -> None:
    code = NETWORK.replace("nn.AdaptiveAvgPool2d(1)", "nn.AvgPool2d(4)")
    (project / "tiny.py").write_text(code)
    with pytest.raises(
        SourceError, match=r"does not take images of 16 x 16 pixels: .*; set targets.flowers.image_size"
    ):
        execute(fetch_source, context_of(project, "fetch_source"))


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


def test_data_in_the_wrong_layout_is_one_line(project: Path) -> None:
    shutil.rmtree(project / "flowers/test")
    with pytest.raises(
        DataError, match=r"no such folder; expected .*/train/<class>/\* and .*/test/<class>/\*"
    ) as caught:
        validate_target(context_of(project, "validate_target"))
    assert "\n" not in str(caught.value)
    data = {"flowers": {"kind": "npz", "path": "none.npz"}}
    with pytest.raises(DataError, match=r"expected an .npz file with .*; set targets.flowers.path to where it is"):
        execute(validate_target, context_of(project, "validate_target", targets=data))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--target", "flower", "--method", "seam", "--seed", "0"],
            "error: unknown target 'flower', expected one of: flowers; add it under `targets`",
        ),
        (["--target", "flowers", "--method", "sem", "--seed", "0"], "got 'sem'; did you mean 'seam'?"),
        (
            ["--target", "flowers", "--method", "seam-100", "--seed", "0"],
            "expected seam-PERCENT with a whole number from 1 to 99, got 'seam-100'",
        ),
        (
            ["--target", "flowers", "--method", "standard-50", "--seed", "0"],
            "'standard', which removes no weights, without a percentage",
        ),
    ],
)
def test_a_bad_name_on_the_command_line_is_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], line: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["tasks/transfer.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        stage_module.main(transfer, "")
    assert line in str(ended.value.code) and "\n" not in str(ended.value.code)


# registration


def registered(root: Path) -> Any:
    return MlflowClient(tracking_uri=tracking_uri(root), registry_uri=tracking_uri(root))


def test_the_best_student_is_registered_once_and_serves(
    project: Path, empty_mlflow_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copyfile(empty_mlflow_store, project / "mlflow/mlflow.db")
    path = project / "artifacts/flowers/compare_transfers/comparison.json"
    passing = [{"gate": "accuracy_drop", "passed": True, "text": "fine"}]
    write_json(path, {**read_json(path), "gates": passing})
    first, again = (register_transfer(context_of(project, "register_transfer")) for _ in range(2))
    assert (
        first.summary
        == again.summary
        == {
            "registered_model": "seam-transfer-flowers",
            "version": 1,
            "aliases": "champion",
        }
    )
    card = read_json(project / "artifacts/flowers/register_transfer/card.json")
    client = registered(project)
    run = client.get_run(card["run_id"])
    assert (
        run.info.status == "FINISHED"
        and run.data.tags["seam.target"] == "flowers"
        and run.data.params["transfer.training.epochs"] == "4"
    )
    seam_metrics = read_json(student_folder(project, "seam") / "metrics.json")
    assert run.data.metrics["compare_transfers/methods/seam/accuracy/mean"] == seam_metrics["accuracy"]
    assert [m.step for m in client.get_metric_history(card["run_id"], "transfer/history/seam-seed0/val_accuracy")] == [
        1,
        2,
        3,
        4,
    ]
    assert {"report.html", "comparison.json", "pareto.svg", "card.json"} <= {
        f.path for f in client.list_artifacts(card["run_id"])
    }
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(project))
    data = load_prepared(project / "artifacts/flowers/validate_target/dataset.safetensors")
    answer: Any = load_model("models:/seam-transfer-flowers@champion").predict(data.x_test)
    expected = load_file(student_folder(project, "seam") / "predictions.safetensors")["clean"]
    assert list(answer["class"]) == [CLASSES[i] for i in expected]
    write_json(path, {**read_json(path), "gates": [{**passing[0], "passed": False}]})
    assert register_transfer(context_of(project, "register_transfer")).summary["aliases"] == ""
    write_json(path, {**read_json(path), "registered": None, "gates": []})
    assert register_transfer(context_of(project, "register_transfer")).summary["registered_model"] is None
