"""`seam bench`: real ONNX files on the real engines; nothing here depends on how fast this machine is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from rich.console import Console
from torch import nn

from flows.commands import bench as bench_command
from seam.configs.inference import LatencyConfig
from seam.errors import ExportError
from seam.inference.export import export_onnx
from seam.inference.int8 import quantize
from seam.inference.operators import _by_operator, operator_times
from seam.inference.variants import InputSpec, input_of, rounds


def seam(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "seam"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two networks for the same images, and one for others."""
    for name, width, size in (("wide", 8, 8), ("narrow", 4, 8), ("other", 4, 9)):
        network = nn.Sequential(
            nn.Conv2d(3, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 2)
        ).eval()
        export_onnx(network, torch.zeros(1, 3, size, size), tmp_path / f"{name}.onnx")
    return tmp_path


def test_models_are_compared_with_the_first_and_the_first_with_itself(folder: Path) -> None:
    done = seam(
        folder,
        "bench",
        "wide.onnx",
        "narrow.onnx",
        "--batch",
        "1,4",
        "--engines",
        "onnxruntime,openvino",
        "--repeats",
        "10",
    )
    assert done.returncode == 0, done.stderr
    for text in (
        "onnxruntime",
        "openvino",
        "wide.onnx",
        "narrow.onnx",
        "the first again",
        "calls of each model in turn",
    ):
        assert text in done.stdout


def test_a_rounded_model_is_timed_beside_the_one_it_was_made_of(folder: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    ).eval()
    export_onnx(network, torch.zeros(1, 3, 8, 8), folder / "wide.onnx")
    quantize(network, torch.rand(20, 3, 8, 8), folder / "int8.onnx")
    assert (rounds(folder / "int8.onnx"), rounds(folder / "wide.onnx")) == (True, False)
    done = seam(
        folder,
        "bench",
        "wide.onnx",
        "int8.onnx",
        "--batch",
        "1",
        "--engines",
        "onnxruntime,openvino",
        "--repeats",
        "10",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("int8.onnx") == 2
    assert "unavailable" not in done.stdout


def test_an_engine_that_fails_is_named_below_the_table_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    reason = "a reason that is longer than a column of the table is wide, " * 3
    monkeypatch.setattr(
        bench_command, "benchmark", lambda *arguments: ({"openvino": {"unavailable": reason.strip()}}, {})
    )
    console = Console(width=100, record=True)
    bench_command.bench([str(folder / "wide.onnx")], LatencyConfig(engines=("openvino",)), 0, False, console)
    assert f"openvino is unavailable: {reason}".strip() in " ".join(console.export_text().split())


def test_a_profile_shows_the_operators_of_every_model(folder: Path) -> None:
    done = seam(
        folder,
        "bench",
        "wide.onnx",
        "narrow.onnx",
        "--batch",
        "4",
        "--engines",
        "onnxruntime",
        "--repeats",
        "10",
        "--profile",
    )
    assert done.returncode == 0, done.stderr
    table = done.stdout[done.stdout.index("ONNX Runtime, batch 4: ms a call") :]
    assert all(operator in table for operator in ("Conv", "GlobalAveragePool", "wide.onnx", "narrow.onnx"))


def test_operators_take_the_time_of_a_call(folder: Path) -> None:
    found = operator_times(folder / "wide.onnx", InputSpec((3, 8, 8)), 64, 1, 10, 0)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert all(value > 0 for value in found.values())


def test_an_operators_time_is_the_sum_over_nodes_of_medians_over_calls() -> None:
    def node(name: str, operator: str, microseconds: int) -> dict[str, object]:
        return {"cat": "Node", "name": f"{name}_kernel_time", "dur": microseconds, "args": {"op_name": operator}}

    calls = (
        [node("a", "Conv", t) for t in (9000, 1000, 2000)]
        + [node("b", "Conv", t) for t in (500, 500, 900)]
        + [node("c", "Add", 100)]
    )
    other = [
        {"cat": "Session", "name": "model_run", "dur": 10**6},
        {"cat": "Node", "name": "a_fence_before", "dur": 10**6, "args": {"op_name": "Conv"}},
    ]
    assert _by_operator([*calls, *other]) == {"Conv": 2.5, "Add": 0.1}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["none.onnx"], "none.onnx: no such file; expected an .onnx file or models:/NAME@champion"),
        (
            ["wide.onnx", "other.onnx"],
            (
                "expected models with the same input, got wide.onnx takes float32 [3, 8, 8]; other.onnx takes float32"
                " [3, 9, 9]"
            ),
        ),
        (["text.onnx"], "text.onnx: expected an ONNX model, got"),
        (["wide.onnx", "--engines", "tensorrt"], "expected --engines of deepsparse, onnxruntime, openvino"),
        (["wide.onnx", "--repeats", "3"], "repeats must be >= 10, got 3"),
    ],
)
def test_a_user_error_is_one_line(folder: Path, arguments: list[str], line: str) -> None:
    (folder / "text.onnx").write_text("no model")
    done = seam(folder, "bench", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and line in done.stderr


def test_a_registered_model_is_found_in_the_registry(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    (folder / "params.yaml").write_text("seed: 0\n")
    (folder / "dvc.yaml").write_text("stages: {}\n")
    (folder / "model").mkdir()
    (folder / "wide.onnx").rename(folder / "model" / "network.onnx")
    client = MlflowClient(uri, uri)
    client.create_registered_model("net")
    client.create_model_version("net", (folder / "model").as_uri())
    client.set_registered_model_alias("net", "champion", "1")
    done = seam(folder, "bench", "models:/net@champion", "--engines", "onnxruntime", "--batch", "1", "--repeats", "10")
    assert done.returncode == 0, done.stderr
    assert "models:/net@champion" in done.stdout
    wrong = seam(folder, "bench", "models:/net@nobody")
    assert wrong.returncode == 1 and wrong.stderr.count("\n") == 1 and "net" in wrong.stderr


def test_the_input_of_a_model_is_read_from_its_file(folder: Path) -> None:
    assert input_of(folder / "wide.onnx") == InputSpec((3, 8, 8))
    example = InputSpec((4, 4, 3), "uint8").example(2, 0)
    assert (example.shape, str(example.dtype)) == ((2, 4, 4, 3), "uint8")
    with pytest.raises(ExportError, match="expected an ONNX model"):
        input_of(folder / "none.onnx")
