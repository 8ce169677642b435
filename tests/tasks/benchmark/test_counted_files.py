"""benchmark_latency counts every file that it exports, and stops where it is not what is said of the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from torch import Tensor, nn

from seam.configs.inference import LatencyConfig
from seam.errors import ExportError
from seam.files import read_json
from seam.inference.export import export_onnx
from seam.measures import shipped
from seam.measures.macs import Counts, count
from tasks import benchmark_latency as stage_module
from tasks.project.stage import StageContext


@pytest.fixture
def project(registry_project: StageContext) -> StageContext:
    config = LatencyConfig(engines=("onnxruntime",), batch_sizes=(1,), warmup=1, repeats=10, frontier=False)
    params = registry_project.params.model_copy(update={"benchmark_latency": config})
    return replace(registry_project, stage="benchmark_latency", params=params)


def test_what_is_published_is_what_the_files_have(project: StageContext) -> None:
    before = read_json(project.artifact("benchmark_latency", "export.json"))
    stage_module.benchmark_latency(project)
    found = read_json(project.artifact("benchmark_latency", "export.json"))
    for name in ("source", "reengineered", "compacted"):
        assert before[name].items() <= found[name].items()


@pytest.mark.parametrize(("key", "words"), [("params_nonzero", "non-zero weights"), ("macs_dense", "multiply-adds")])
@pytest.mark.parametrize("off", [-1, 1])
def test_a_wrong_count_stops(
    project: StageContext, monkeypatch: pytest.MonkeyPatch, key: str, words: str, off: int
) -> None:
    def wrong(network: nn.Module, example: Tensor) -> Counts:
        right = count(network, example)
        return replace(right, **{key: getattr(right, key) + off})

    monkeypatch.setattr(stage_module, "count", wrong)
    with pytest.raises(ExportError, match=rf"^source\.onnx: expected [\d,]+ {words} in its.*, as its count says") as e:
        stage_module.benchmark_latency(project)
    assert "\n" not in str(e.value)


def test_a_file_of_another_network_stops(project: StageContext, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(network: nn.Module, example: Tensor, path: Path, accept: Callable[[Path], None]) -> float:
        added = [nn.Linear(2, 2)] if path.stem == "reengineered" else []
        return export_onnx(nn.Sequential(network, *added), example, path, accept)

    monkeypatch.setattr(shipped, "export_onnx", other)
    with pytest.raises(ExportError, match=r"^reengineered\.onnx: expected [\d,]+ weights in its"):
        stage_module.benchmark_latency(project)
