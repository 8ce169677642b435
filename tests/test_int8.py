"""Models rounded to int8: what they compute, what is refused, and what a stage says of them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from seam.configs import LatencyConfig
from seam.engines import LOADERS, InputSpec, Variant
from seam.errors import ExportError
from seam.export import export_onnx
from seam.files import read_json
from seam.int8 import quantize
from seam.latency import benchmark
from tasks import benchmark_latency as stage_module
from tasks.stage import StageContext

SHAPE = (3, 16, 16)


@pytest.fixture(scope="module")
def rounded(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    """A network with a small head and without biases, so that brighter images give larger outputs, and its int8 form."""
    folder = tmp_path_factory.mktemp("int8")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(
            *(nn.Conv2d(3, 32, 3, bias=False), nn.ReLU(), nn.Conv2d(32, 64, 3, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()),
            *(nn.Linear(256, 8, bias=False), nn.Linear(8, 2, bias=False)),
        ).eval()
    export_onnx(module, torch.zeros(1, *SHAPE), folder / "net.onnx")
    quantize(folder / "net.onnx", _images(40), folder / "net.xml")
    return Variant(folder / "net.onnx", module, folder / "net.xml")


def _images(count: int) -> np.ndarray:
    """Noise around a brightness of the image's own."""
    rng = np.random.default_rng(0)
    return (rng.standard_normal((count, *SHAPE)) + 4 * rng.standard_normal((count, 1, 1, 1))).astype(np.float32)


def test_outputs_are_near_the_models_and_the_weights_a_quarter_of_the_size(rounded: Variant) -> None:
    images = _images(16)
    exact, near = (LOADERS[engine](rounded, 16, 1, {})(images).copy() for engine in ("openvino", "openvino_int8"))
    assert 0 < np.abs(near - exact).mean() < 0.5 * exact.std(0).mean()
    assert rounded.int8 is not None
    assert rounded.int8.with_suffix(".bin").stat().st_size < 0.35 * rounded.onnx.stat().st_size


def test_the_same_images_give_the_same_weights(rounded: Variant, tmp_path: Path) -> None:
    quantize(rounded.onnx, _images(40), tmp_path / "again.xml")
    assert rounded.int8 is not None
    assert (tmp_path / "again.bin").read_bytes() == rounded.int8.with_suffix(".bin").read_bytes()


def test_it_is_timed_although_its_outputs_differ(rounded: Variant) -> None:
    results, about = benchmark({"source": rounded}, InputSpec(SHAPE), LatencyConfig(engines=("openvino_int8",), batch_sizes=(2,), warmup=1, repeats=10), 0)
    assert results["openvino_int8"]["source"]["batch2"]["repeats"] == 10
    assert about["openvino_int8"]["version"]


def test_a_file_that_is_no_model_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"nothing")
    with pytest.raises(ExportError, match=r"x\.onnx: expected a model that NNCF can quantise, got ") as error:
        quantize(tmp_path / "x.onnx", _images(2), tmp_path / "x.xml")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "x.xml").exists()


def test_a_missing_package_says_what_to_do(rounded: Variant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(ExportError, match="expected the package nncf, it is not installed; run `pip install nncf openvino`"):
        quantize(rounded.onnx, _images(2), tmp_path / "x.xml")


def test_where_rounding_fails_the_engine_is_unavailable_and_the_others_are_timed(registry_project: StageContext, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object) -> None:
        raise ExportError("int8: expected the package nncf, it is not installed.")

    monkeypatch.setattr(stage_module, "quantized", fails)
    config = LatencyConfig(engines=("onnxruntime", "openvino_int8"), batch_sizes=(1,), warmup=1, repeats=10)
    context = replace(registry_project, stage="benchmark_latency", params=registry_project.params.model_copy(update={"benchmark_latency": config}))
    stage_module.benchmark_latency(context)
    measured, exported = (read_json(context.artifact("benchmark_latency", name)) for name in ("metrics.json", "export.json"))
    assert "expected the package nncf" in measured["openvino_int8"]["unavailable"]
    assert measured["onnxruntime"]["compacted"]["batch1"]["repeats"] == 10
    assert exported["int8"] == {}
    assert exported["fastest"]["batch1"]["reengineered"]["engine"] == "onnxruntime"


def test_a_refused_model_is_never_the_fastest() -> None:
    def times(source: float, compacted: float) -> dict[str, dict[str, dict[str, float]]]:
        return {name: {"batch1": {"latency_ms_p50": ms}} for name, ms in (("source", source), ("compacted", compacted))}

    latencies = {"openvino": times(4.0, 2.0), "openvino_int8": times(3.0, 1.0)}
    free, held = (stage_module.fastest(latencies, refused)["batch1"]["reengineered"] for refused in ((), {("openvino_int8", "compacted")}))
    assert (free["engine"], free["latency_ms_p50"]) == ("openvino_int8", 1.0)
    assert (held["engine"], held["latency_ms_p50"]) == ("openvino", 2.0)
