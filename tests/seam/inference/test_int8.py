"""Models rounded to int8: what they compute, what is refused, and what a stage says of them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from seam.compaction import compact
from seam.configs.inference import EngineName, LatencyConfig
from seam.errors import ExportError
from seam.files import read_json
from seam.inference.engines import ENGINES, engines_that_take
from seam.inference.export import export_onnx
from seam.inference.int8 import quantize
from seam.inference.latency import benchmark
from seam.inference.variants import InputSpec, Variant
from seam.networks.build import build
from tasks import benchmark_latency as stage_module
from tasks.benchmark.int8 import small_enough
from tasks.project.stage import StageContext

SHAPE = (3, 16, 16)
QUANTIZED = engines_that_take("int8")


@pytest.fixture(scope="module")
def rounded(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    """A network with a norm, a small head and no biases (brighter images give larger outputs), and its int8 form."""
    folder = tmp_path_factory.mktemp("int8")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(
            *(
                nn.Conv2d(3, 32, 3, bias=False),
                nn.BatchNorm2d(32),
                nn.ReLU(),
                nn.Conv2d(32, 64, 3, bias=False),
                nn.ReLU(),
            ),
            *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(256, 8, bias=False), nn.Linear(8, 2, bias=False)),
        ).eval()
    export_onnx(module, torch.zeros(1, *SHAPE), folder / "net.onnx")
    quantize(module, torch.from_numpy(_images(40)), folder / "int8.onnx")
    return Variant(folder / "net.onnx", module, folder / "int8.onnx")


def _images(count: int) -> np.ndarray:
    """Noise around a brightness of the image's own."""
    rng = np.random.default_rng(0)
    return (rng.standard_normal((count, *SHAPE)) + 4 * rng.standard_normal((count, 1, 1, 1))).astype(np.float32)


@pytest.mark.parametrize("engine", QUANTIZED)
def test_outputs_are_near_the_models(rounded: Variant, engine: str) -> None:
    images = _images(16)
    exact, near = (ENGINES[e].load(rounded, 16, 1, {})(images).copy() for e in ("onnxruntime", engine))
    assert 0 < np.abs(near - exact).mean() < 0.5 * exact.std(0).mean()


def test_all_layers_but_the_last_are_stored_in_int8(rounded: Variant) -> None:
    assert rounded.int8 is not None
    assert rounded.int8.stat().st_size < 0.35 * rounded.onnx.stat().st_size
    graph = onnx.load(str(rounded.int8)).graph
    int8 = onnx.TensorProto.INT8  # type: ignore[attr-defined]
    stored = [list(t.dims) for t in graph.initializer if t.data_type == int8 and len(t.dims) > 1]
    assert sorted(stored) == [[32, 3, 3, 3], [64, 32, 3, 3], [256, 8]]
    assert "BatchNormalization" not in {node.op_type for node in graph.node}
    assert [i.type.tensor_type.shape.dim[0].dim_param for i in graph.input] == ["batch"]


@pytest.mark.parametrize(
    ("architecture", "near_enough"),
    [
        ("resnet20_a", 0.9),
        ("vgg16_bn_cifar", 0.9),
        ("torchvision:mobilenet_v2", 0.6),
        ("torchvision:squeezenet1_1", 0.9),
    ],
)
def test_real_architectures_can_be_rounded_compacted_or_not(
    architecture: str, near_enough: float, tmp_path: Path
) -> None:
    """With random weights; of depthwise convolutions, rounding leaves less."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network, images = build(architecture, 10).train(), torch.randn(8, 3, 32, 32)
        for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.momentum = None
        with torch.no_grad():
            network(images)  # statistics as after training, so that outputs do not vanish
        network.eval()
    for name, model in (("whole", network), ("compacted", compact(network, images[:2]).module)):
        quantize(model, images, tmp_path / f"{name}.onnx")
        exact = network(images).detach().numpy()
        variant = Variant(tmp_path / "unused.onnx", model, tmp_path / f"{name}.onnx")
        for engine in QUANTIZED:
            near = ENGINES[engine].load(variant, 8, 1, {})(images.numpy())
            assert np.corrcoef(near.ravel(), exact.ravel())[0, 1] > near_enough, (name, engine)


def test_the_same_images_give_the_same_bytes(rounded: Variant, tmp_path: Path) -> None:
    assert isinstance(rounded.module, nn.Module)
    assert rounded.int8 is not None
    quantize(rounded.module, torch.from_numpy(_images(40)), tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == rounded.int8.read_bytes()


@pytest.mark.parametrize("engine", QUANTIZED)
def test_it_is_timed_although_its_outputs_differ(rounded: Variant, engine: EngineName) -> None:
    results, about = benchmark(
        {"source": rounded},
        InputSpec(SHAPE),
        LatencyConfig(engines=(engine,), batch_sizes=(2,), warmup=1, repeats=10),
        0,
    )
    assert results[engine]["source"]["batch2"]["repeats"] == 10
    assert about[engine]["version"]


def test_a_model_without_layers_to_round_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"x\.onnx: expected a model that NNCF can quantise, got ") as error:
        quantize(nn.Sequential(nn.ReLU(), nn.Flatten()), torch.from_numpy(_images(2)), tmp_path / "x.onnx")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_says_what_to_do(rounded: Variant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    assert isinstance(rounded.module, nn.Module)
    with pytest.raises(ExportError, match="expected the package nncf, it is not installed; run `pip install nncf`"):
        quantize(rounded.module, torch.from_numpy(_images(2)), tmp_path / "x.onnx")


def test_where_rounding_fails_the_engine_is_unavailable_and_the_others_are_timed(
    registry_project: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object) -> None:
        raise ExportError("int8: expected the package nncf, it is not installed.")

    monkeypatch.setattr(stage_module, "quantized", fails)
    config = LatencyConfig(engines=("onnxruntime", "openvino_int8"), batch_sizes=(1,), warmup=1, repeats=10)
    context = replace(
        registry_project,
        stage="benchmark_latency",
        params=registry_project.params.model_copy(update={"benchmark_latency": config}),
    )
    stage_module.benchmark_latency(context)
    measured, exported = (
        read_json(context.artifact("benchmark_latency", name)) for name in ("metrics.json", "export.json")
    )
    assert "expected the package nncf" in measured["openvino_int8"]["unavailable"]
    assert measured["onnxruntime"]["compacted"]["batch1"]["repeats"] == 10
    assert exported["int8"] == {}
    assert exported["fastest"]["batch1"]["reengineered"]["engine"] == "onnxruntime"


@pytest.mark.parametrize(
    ("drop", "num_images", "accepted"),
    [(1 / 120, 120, True), (2 / 120, 120, False), (0.005, 1000, True), (0.006, 1000, False), (-0.1, 1000, True)],
)
def test_rounding_may_cost_what_is_allowed_or_one_image(drop: float, num_images: int, accepted: bool) -> None:
    assert small_enough(drop, num_images, 0.005) is accepted


def test_a_refused_model_is_never_the_fastest() -> None:
    def times(source: float, compacted: float) -> dict[str, dict[str, dict[str, float]]]:
        return {name: {"batch1": {"latency_ms_p50": ms}} for name, ms in (("source", source), ("compacted", compacted))}

    latencies = {"openvino": times(4.0, 2.0), "openvino_int8": times(3.0, 1.0)}
    free, held = (
        stage_module.fastest(latencies, refused)["batch1"]["reengineered"]
        for refused in ((), {("openvino_int8", "compacted")})
    )
    assert (free["engine"], free["latency_ms_p50"]) == ("openvino_int8", 1.0)
    assert (held["engine"], held["latency_ms_p50"]) == ("openvino", 2.0)
