"""What the stages of a transfer refuse, in one line: altered files, another source, missing data and names."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from seam.errors import DataError, SeamError, SourceError
from seam.networks.build import build
from tasks.attack_target import attack_target
from tasks.compare_transfers import compare_transfers
from tasks.fetch_source import fetch_source
from tasks.project import stage as stage_module
from tasks.project.stage import execute
from tasks.project.students import StudentName
from tasks.register_transfer import register_transfer
from tasks.transfer import transfer
from tasks.validate_target import validate_target
from tests.tasks.transfer_project import NETWORK, SEAM, VALUES, context_of, student_folder, with_transfer


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
        ("fetch_source", {"num_classes": 9}, "has 7 classes where 9 are asked for .* set transfer.num_classes"),
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
        (
            StudentName("standard", 0),
            "training",
            r"lower transfer\.training\.lr, transfer\.training\.lr_head or transfer\.settings\.$",
        ),
        (
            StudentName("retrain", 0),
            "retrain",
            r"lower transfer\.retrain\.lr, transfer\.retrain\.lr_head or transfer\.settings\.$",
        ),
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
