"""Outputs of engines beside torch's: what differs is seen, what does not is not."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from seam.inference.agreement import agreements, compared
from seam.inference.engines import ENGINES
from seam.inference.export import export_onnx
from seam.inference.int8 import quantize
from seam.inference.measure import AT_ONCE, outputs
from seam.inference.variants import Variant

SHAPE = (3, 8, 8)
INPUTS = {
    "noise": np.random.default_rng(0).random((AT_ONCE + 3, *SHAPE), dtype=np.float32),
    "flat": np.stack([np.zeros(SHAPE, np.float32), np.ones(SHAPE, np.float32)]),
}


@pytest.fixture(scope="module")
def variant(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 3)
    ).eval()
    folder = tmp_path_factory.mktemp("agreement")
    export_onnx(network, torch.zeros(1, *SHAPE), folder / "net.onnx")
    quantize(network, torch.from_numpy(INPUTS["noise"]), folder / "int8.onnx")
    return Variant(folder / "net.onnx", network, folder / "int8.onnx")


def test_differences_by_hand() -> None:
    wanted = np.array([[2.0, 1.0], [0.0, 4.0], [1.0, 1.5]], np.float32)
    got = wanted + np.array([[0.0, 0.0], [0.4, 0.0], [0.6, 0.0]], np.float32)
    found = compared(got, wanted)
    assert (found.images, found.labels_flipped) == (3, 1)
    assert found.max_abs_diff == pytest.approx(0.6)
    assert found.deviation == pytest.approx(0.6 / 4)
    small = compared(got / 100, wanted / 100)
    assert small.deviation == small.max_abs_diff == pytest.approx(0.006)


@pytest.mark.parametrize("got", [np.zeros((2, 3)), np.full((2, 2), np.nan), np.full((2, 2), np.inf)])
def test_other_shapes_and_missing_numbers_agree_with_nothing(got: np.ndarray) -> None:
    found = compared(got.astype(np.float32), np.zeros((2, 2), np.float32))
    assert (found.max_abs_diff, found.deviation, found.labels_flipped) == (None, None, 2)


def test_outputs_of_a_batch_that_is_not_full_are_those_of_its_images(variant: Variant) -> None:
    assert isinstance(variant.module, nn.Module)
    with torch.no_grad():
        wanted = variant.module(torch.from_numpy(INPUTS["noise"])).numpy()
    for engine in ("torch", "onnxruntime", "openvino"):
        np.testing.assert_allclose(outputs(engine, variant, INPUTS["noise"], 1), wanted, atol=1e-5)


def test_every_engine_is_compared(variant: Variant) -> None:
    engines = [name for name in ENGINES if name != "torch_compile"]  # which takes a compiler and half a minute
    found = agreements(engines, variant, INPUTS, 1)
    assert set(found) == set(engines) - {"torch"}
    for engine, about in found.items():
        if "unavailable" in about and ENGINES[engine].isolated:
            continue  # this machine's CPU is not one that it knows
        assert about["precision"] == ("int8" if ENGINES[engine].takes == "int8" else "float32"), about
        most = 0.1 if about["precision"] == "int8" else 1e-5
        for kind, x in INPUTS.items():
            assert about["kinds"][kind]["images"] == len(x)
            assert 0 <= about["kinds"][kind]["deviation"] <= most
            assert about["kinds"][kind]["labels_flipped"] == 0 or about["precision"] == "int8"


def test_what_an_engine_computes_otherwise_is_seen(variant: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    right = ENGINES["openvino"].load

    def wrong(*arguments: Any) -> Any:
        run = right(*arguments)

        def answer(x: np.ndarray) -> np.ndarray:
            is_flat = (x == x[:, :, :1, :1]).all((1, 2, 3))
            return np.where(is_flat[:, None], np.roll(run(x), 1, axis=1), run(x))

        return answer

    monkeypatch.setitem(ENGINES, "openvino", replace(ENGINES["openvino"], load=wrong))
    found = agreements(["onnxruntime", "openvino"], variant, INPUTS, 1)
    assert found["onnxruntime"]["kinds"]["flat"]["labels_flipped"] == 0
    assert found["openvino"]["kinds"]["noise"]["labels_flipped"] == 0
    assert found["openvino"]["kinds"]["flat"]["labels_flipped"] == 2
    assert found["openvino"]["kinds"]["flat"]["deviation"] > 0.01


def test_an_engine_that_is_not_there_or_fails_is_reported(variant: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "deepsparse" else find(name, *rest)
    )

    def fails(*_: Any) -> Any:
        raise RuntimeError("no such\ninstruction")

    monkeypatch.setitem(ENGINES, "openvino", replace(ENGINES["openvino"], load=fails))
    found = agreements(["deepsparse", "openvino", "onnxruntime"], variant, INPUTS, 1)
    assert found["deepsparse"]["unavailable"].startswith("not installed")
    assert found["openvino"]["unavailable"] == "no such instruction"
    assert "kinds" in found["onnxruntime"]


def test_an_isolated_engine_gives_its_outputs_back(variant: Variant, tmp_path: Path) -> None:
    from seam.inference.isolated import outputs_isolated

    got = outputs_isolated("onnxruntime", variant, INPUTS["noise"], 1)
    np.testing.assert_array_equal(got, outputs("onnxruntime", variant, INPUTS["noise"], 1))
