"""What the candidates of a search would save: their masks, and the table of multiply-adds and times."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from seam.configs.inference import LatencyConfig
from seam.files import read_rows
from seam.inference.engines import ENGINES
from seam.masks.pack import load_mask_pack
from tasks import benchmark_latency as stage_module
from tasks.project.stage import StageContext
from tasks.report import figures


def timed(project: StageContext, **changes: object) -> list[dict[str, object]]:
    """The table that benchmark_latency makes of the project's candidates."""
    config = replace(
        LatencyConfig(engines=("onnxruntime", "torch"), batch_sizes=(1, 2), warmup=1, repeats=50), **changes
    )  # type: ignore[arg-type]
    stage_module.benchmark_latency(
        replace(
            project, stage="benchmark_latency", params=project.params.model_copy(update={"benchmark_latency": config})
        )
    )
    return read_rows(project.artifact("benchmark_latency", "frontier.csv"))


def test_every_candidate_is_compacted_and_timed_beside_the_original(registry_project: StageContext) -> None:
    original, larger, smaller = timed(registry_project)
    assert list(original) == [
        "density",
        "macs",
        "val_accuracy",
        "onnxruntime_ms",
    ]  # at the last batch size; torch reads no ONNX file
    assert (original["density"], original["val_accuracy"]) == (1.0, 0.9)
    assert (larger["density"], larger["val_accuracy"]) == (0.5, 0.9)
    assert original["macs"] > larger["macs"] > smaller["macs"] > 0  # type: ignore[operator]
    assert all(float(str(row["onnxruntime_ms"])) > 0 for row in (original, larger, smaller))
    packs = [load_mask_pack(registry_project.artifact("search", f"candidates/{n}.safetensors")).masks for n in range(2)]
    assert sum(int(m.sum()) for m in packs[0].values()) > sum(int(m.sum()) for m in packs[1].values())


def test_an_engine_that_is_not_there_leaves_its_column_empty(
    registry_project: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise RuntimeError("not installed")

    monkeypatch.setitem(ENGINES, "openvino", replace(ENGINES["openvino"], load=missing))
    rows = timed(registry_project, engines=("openvino", "onnxruntime"))
    assert [row["openvino_ms"] for row in rows] == ["", "", ""]
    drawn = figures.to_svg(lambda: figures.gains(rows[0], rows[1:]))
    assert "time, onnxruntime" in drawn and "time, openvino" not in drawn


@pytest.mark.parametrize("case", ["not asked for", "no masks kept", "no engine for it"])
def test_without_candidates_the_table_is_empty(registry_project: StageContext, case: str) -> None:
    folder = registry_project.artifact("search", "candidates")
    if case == "no masks kept":
        shutil.rmtree(folder)
        folder.mkdir()
    assert (
        timed(
            registry_project,
            frontier=case != "not asked for",
            engines=("torch",) if case == "no engine for it" else ("onnxruntime",),
        )
        == []
    )
