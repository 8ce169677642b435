"""The students of a transfer beside each other, recomputed by hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from seam.errors import DataError
from seam.files import read_json, read_rows, write_json
from tasks.compare_transfers import compare_transfers
from tasks.project.students import StudentName
from tasks.transfer import transfer
from tests.tasks.transfer_project import VALUES, context_of, student_folder, with_transfer


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
    students = {m: read_json(student_folder(made, m) / "metrics.json") for m in VALUES["transfer"]["methods"]}
    assert "Settings of the training" not in page
    assert page.count("Never trained: epoch 0 was the best.") == sum(s["best_epoch"] == 0 for s in students.values())
    assert (
        "SeaM, 70% removed" in page and "<svg role=" in page and "http://" not in page.replace("http://www.w3.org", "")
    )
    assert (folder / "pareto.svg").read_text().lstrip().startswith("<?xml")


def test_the_settings_a_student_was_chosen_from_are_said(project: Path) -> None:
    settings = [{"lr": 1e-9, "lr_head": 1e-9}, {"lr": 1e20}, {"lr": 0.05, "lr_head": 0.05, "momentum": 0.9}]
    name = StudentName("magnitude", 0)
    transfer(with_transfer(project, "transfer", name, settings=settings))
    metrics = read_json(student_folder(project, "magnitude") / "metrics.json")
    slow, wild, good = metrics["settings"]
    assert [s["chosen"] for s in metrics["settings"]] == [False, False, True]
    assert (wild["lr"], wild["val_accuracy"], wild["best_epoch"]) == (1e20, None, None)
    assert slow["val_accuracy"] < good["val_accuracy"] == metrics["val_accuracy"]
    assert (slow["lr"], slow["momentum"], slow["schedule"], slow["head_start"]) == (1e-9, 0.0, "constant", "random")
    assert (metrics["best_epoch"], metrics["epochs"], metrics["passes"]) == (good["best_epoch"], 4, 8)
    compare_transfers(with_transfer(project, "compare_transfers", methods=["magnitude"], settings=settings))
    folder = project / "artifacts/flowers/compare_transfers"
    row = read_json(folder / "comparison.json")["methods"]["magnitude"]
    assert [s["chosen"] for s in row["settings"]] == [[], [], [0]] and row["best_epoch"] == [metrics["best_epoch"]]
    assert row["passes"]["mean"] == 8
    assert row["regrown"] and metrics["density_end"] > metrics["density_start"] + 0.1
    page = (folder / "report.html").read_text()
    assert "rate 0.05, classifier 0.05, momentum 0.9, constant, random classifier" in page
    assert f"Regrown: {metrics['density_end']:.0%} of the weights are non-zero." in page
    assert f"{100 * good['val_accuracy']:.2f}%, chosen" in page and "not finite in 1 of 1" in page


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
