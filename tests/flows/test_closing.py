"""What the end of a run says beside the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flows.closing import show_closing
from seam.files import write_json
from tasks.project.params import Params
from tasks.project.stages import PROBLEM
from tasks.project.subject import Subject, stage_folder
from tests.defaults import PROBLEMS
from tests.tasks.report.one_pass import CHANNELS


@pytest.mark.parametrize(
    ("val_from", "said"),
    [
        ("train", "val      50 images, carved out of the training images"),
        ("test", "val      50 images, carved out of the test images"),
        ("given", "val      50 images, given with the data"),
    ],
)
def test_it_says_where_val_came_from(tmp_path: Path, val_from: str, said: str) -> None:
    subject = Subject(PROBLEM.name, next(iter(PROBLEMS)))
    report = stage_folder(tmp_path, PROBLEM.reports, subject) / "report.html"
    report.parent.mkdir(parents=True)
    report.write_text("")
    summary = {"num_val": 50, "val_from": val_from}
    write_json(stage_folder(tmp_path, "split_dataset", subject) / "summary.json", summary)
    console = Console(record=True, width=120)
    show_closing(tmp_path, Params.model_validate({"problems": PROBLEMS}), PROBLEM, [subject], console, finished=False)
    assert said in [line.strip() for line in console.export_text().splitlines()]


@pytest.mark.parametrize("measured", [3.3, None])
def test_it_says_what_was_predicted_and_measured(tmp_path: Path, measured: float | None) -> None:
    subject = Subject(PROBLEM.name, next(iter(PROBLEMS)))
    for stage, name, content in (
        (PROBLEM.reports, "report.html", {}),
        ("search", "metrics.json", {"channels": CHANNELS}),
        ("benchmark_latency", "metrics.json", _timed(measured)),
        ("benchmark_latency", "export.json", {"hardware": CHANNELS["machine"]}),
    ):
        path = stage_folder(tmp_path, stage, subject) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, content)
    console = Console(record=True, width=120)
    show_closing(tmp_path, Params.model_validate({"problems": PROBLEMS}), PROBLEM, [subject], console, finished=False)
    said = "time     predicted 3.000 ms, measured 3.300 ms (+10.0%): onnxruntime, batch 16, 1 thread"
    assert (said in [line.strip() for line in console.export_text().splitlines()]) == (measured is not None)


def _timed(milliseconds: float | None) -> dict[str, Any]:
    batch = {"batch16": {"latency_ms_p50": milliseconds, "num_threads": 1}} if milliseconds else {}
    return {"onnxruntime": dict.fromkeys(("source", "reengineered", "compacted"), batch)}
