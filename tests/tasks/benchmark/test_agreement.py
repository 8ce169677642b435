"""benchmark_latency compares every engine with torch on four kinds of images, and says where they differ."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from seam.configs.inference import LatencyConfig
from seam.errors import SuspectResultWarning
from seam.files import read_json, write_json
from seam.inference.engines import ENGINES
from seam.networks.source import SourceInfo
from tasks.benchmark.agreement import attacked, doubt_agreement, extremes
from tasks.benchmark.kinds_compared import KINDS
from tasks.benchmark_latency import benchmark_latency
from tasks.project.stage import StageContext
from tasks.report.agreement import agreement_rows
from tests.tasks.report.page import render


def run(project: StageContext, *engines: Any) -> dict[str, Any]:
    config = LatencyConfig(engines=engines, batch_sizes=(1,), warmup=1, repeats=10, frontier=False, compared_images=9)
    params = project.params.model_copy(update={"benchmark_latency": config})
    context = replace(project, stage="benchmark_latency", params=params)
    benchmark_latency(context)
    return read_json(context.artifact("benchmark_latency", "export.json"))


def test_engines_that_agree(registry_project: StageContext) -> None:
    found = run(registry_project, "openvino", "torch")["agreement"]
    assert list(found) == ["onnxruntime", "openvino"]  # what serves the model, asked for or not
    for about in found.values():
        assert about["precision"] == "float32"
        assert {kind: about["kinds"][kind]["images"] for kind in KINDS} == {
            "test": 4,
            "noise": 9,
            "extreme": 7,
            "attacked": 1,
        }
        assert all(kind["deviation"] < 1e-5 and kind["labels_flipped"] == 0 for kind in about["kinds"].values())


def test_an_engine_that_answers_otherwise_is_a_doubt_and_is_in_the_report(
    registry_project: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = ENGINES["openvino"].load

    def wrong(*arguments: Any) -> Any:
        run = right(*arguments)
        return lambda x: -run(x)

    monkeypatch.setitem(ENGINES, "openvino", replace(ENGINES["openvino"], load=wrong))
    found = run(registry_project, "openvino")
    assert found["agreement"]["openvino"]["kinds"]["test"]["labels_flipped"] == 4
    assert any("openvino answers another class than torch for 4 of 4 test images" in text for text in found["warnings"])
    page = render(registry_project)
    assert "The same answers on every engine" in page and "4 of 4" in page


def test_the_table_of_the_report(registry_project: StageContext) -> None:
    kinds = {kind: {"images": 8, "max_abs_diff": 0.5, "deviation": 0.25, "labels_flipped": 2} for kind in KINDS}
    kinds["noise"] |= {"deviation": 3e-7, "labels_flipped": 0}
    kinds["extreme"] |= {"max_abs_diff": None, "deviation": None}
    agreement = {
        "openvino_int8": {"precision": "int8", "kinds": kinds},
        "deepsparse": {"unavailable": "not <installed>"},
    }
    rows = agreement_rows(agreement)
    assert rows[0][:2] == ("OpenVINO int8", "int8")
    assert rows[0][2] == ["25.0%; 2 of 8", "3e-05%; 0 of 8", "not comparable; 2 of 8", "25.0%; 2 of 8"]
    assert rows[1] == ("DeepSparse", "not <installed>", [])
    path = registry_project.artifact("benchmark_latency", "export.json")
    write_json(path, {**read_json(path), "agreement": agreement})
    page = render(registry_project)
    assert "not &lt;installed&gt;" in page and "3e-05%; 0 of 8" in page


def test_no_doubt_where_all_agree(recwarn: pytest.WarningsRecorder) -> None:
    doubt_agreement({"a": {"kinds": {"test": {"labels_flipped": 0, "images": 3}}}, "b": {"unavailable": "x"}})
    assert not [w for w in recwarn if issubclass(w.category, SuspectResultWarning)]


def test_extremes_are_what_they_are_called() -> None:
    images = extremes(4, 5, 3).numpy()
    assert images.shape == (9, 4, 5, 3) and set(np.unique(images)) == {0, 255}
    assert (images[0] == 0).all() and (images[1] == 255).all()
    assert images[2, 0, :, 0].tolist() == [0, 255, 0, 255, 0] and (images[2] == 255 - images[3]).all()
    assert images[4, :2, :2].max() == 0 and images[4, 0, 2, 0] == 255
    assert images[7].reshape(-1, 3).max(0).tolist() == [0, 255, 0]
    assert len(extremes(4, 4, 1)) == 7


def test_attacked_images_are_near_and_answered_otherwise() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 2, bias=False)).eval()
    with torch.no_grad():
        network[1].weight.copy_(torch.stack([torch.ones(48), -torch.ones(48)]))
    info = SourceInfo(
        architecture="x", num_classes=2, mean=(0.5,) * 3, std=(0.25,) * 3, image_shape=(4, 4, 3), params_total=96
    )
    images = torch.full((11, 4, 4, 3), 128, dtype=torch.uint8)  # 0.5 / 255 above the mean: class 0, narrowly
    before = copy.deepcopy(network.state_dict())
    found = attacked(network, images, info, 0)
    assert torch.equal(found, attacked(network, images, info, 0))
    assert (network(found).argmax(1) == 1).all() and found.shape == (11, 3, 4, 4)
    pixels = found * 0.25 + 0.5
    assert float((pixels - 128 / 255).abs().max()) <= 8 / 255 + 1e-5
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
