"""The gates on conversions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seam.errors import ConfigError
from tasks.tracking.conversions import judge_conversions
from tasks.tracking.policy import ConversionGate, ConversionGates, load_policy
from tests.defaults import POLICY, committed

GATES = ConversionGates(float32=ConversionGate(deviation=0.001, flips=0.0), int8=ConversionGate(flips=0.05))


def of(deviation: float | None = 1e-6, flipped: int = 0, precision: str = "float32", noise: int = 0) -> dict[str, Any]:
    """One engine's entry: test images, and noise."""
    test = {"images": 100, "max_abs_diff": deviation, "deviation": deviation, "labels_flipped": flipped}
    return {"precision": precision, "kinds": {"test": test, "noise": {**test, "labels_flipped": noise}}}


@pytest.mark.parametrize(
    ("agreement", "passed"),
    [
        ({"onnxruntime": of()}, {"float32": True}),
        ({"onnxruntime": of(0.001)}, {"float32": True}),
        ({"onnxruntime": of(0.0011)}, {"float32": False}),
        ({"onnxruntime": of(None)}, {"float32": False}),
        ({"onnxruntime": of(flipped=1)}, {"float32": False}),
        ({"onnxruntime": of(noise=3)}, {"float32": True}),
        ({"onnxruntime": of(), "openvino": of(0.5)}, {"float32": False}),
        ({"onnxruntime": of(), "deepsparse": {"unavailable": "not installed"}}, {"float32": True}),
        ({"deepsparse": {"unavailable": "not installed"}}, {"float32": False}),
        ({}, {"float32": False}),
        ({"onnxruntime": of(), "openvino_int8": of(0.3, 5, "int8")}, {"float32": True, "int8": True}),
        ({"onnxruntime": of(), "openvino_int8": of(0.3, 6, "int8")}, {"float32": True, "int8": False}),
    ],
)
def test_a_model_passes_if_all_engines_of_a_precision_agree(agreement: Any, passed: dict[str, bool]) -> None:
    verdicts = judge_conversions(GATES, agreement)
    assert {v.gate.removeprefix("conversions_"): v.passed for v in verdicts} == passed


def test_the_verdict_names_the_engine_that_is_farthest() -> None:
    (verdict,) = judge_conversions(
        ConversionGates(float32=ConversionGate(deviation=0.001)),
        {"onnxruntime": of(flipped=2), "openvino": of(0.02, noise=4)},
    )
    assert "onnxruntime, openvino beside torch: outputs differ by at most 0.02 of the largest (openvino" in verdict.text
    assert "2 of 100 test images on onnxruntime" in verdict.text and "4 of noise" in verdict.text


def test_a_gate_that_is_left_out_does_not_apply() -> None:
    assert judge_conversions(ConversionGates(), {"onnxruntime": of(0.5, 50)}) == []


def test_the_policy_has_them(tmp_path: Path) -> None:
    (tmp_path / "registry.yaml").write_text(committed("mlflow/registry.yaml"))
    gates = load_policy(tmp_path / "registry.yaml").conversion_gates
    assert gates.float32 is not None and gates.float32.flips == 0
    (tmp_path / "registry.yaml").write_text(f"{POLICY}\nconversion_gates: {{float32: {{flip: 0.1}}}}\n")
    with pytest.raises(ConfigError, match=r"unknown key 'conversion_gates\.float32\.flip'; did you mean 'flips'\?"):
        load_policy(tmp_path / "registry.yaml")
