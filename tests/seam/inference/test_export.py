"""ONNX files: checked against torch, whole or absent, the same bytes for the same weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.jit import is_tracing  # type: ignore[attr-defined]

from seam.errors import ExportError
from seam.inference.export import export_onnx, export_serving_onnx
from seam.networks.build import build
from seam.networks.source import Preprocess

EXAMPLE = torch.zeros(1, 3, 8, 8)


@pytest.fixture
def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build("resnet20", 4).eval()


def run(path: Path, name: str, x: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {name: x})[0]


@torch.no_grad()
def test_logits_are_torchs_for_any_batch_size(network: nn.Module, tmp_path: Path) -> None:
    difference = export_onnx(network, EXAMPLE, tmp_path / "m.onnx")
    assert 0 <= difference <= 1e-4
    for batch in (1, 5):
        x = torch.randn(batch, 3, 8, 8)
        assert np.allclose(run(tmp_path / "m.onnx", "input", x.numpy()), network(x).numpy(), atol=1e-4)
    model = onnx.load(str(tmp_path / "m.onnx"))
    assert model.opset_import[0].version == 17
    assert model.ir_version <= 9
    assert [o.name for o in model.graph.output] == ["logits"]


def test_zero_weights_stay_zero_in_the_file(network: nn.Module, tmp_path: Path) -> None:
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.weight[:, ::2] = 0
    export_onnx(network, EXAMPLE, tmp_path / "m.onnx")
    kernels = [
        onnx.numpy_helper.to_array(t) for t in onnx.load(str(tmp_path / "m.onnx")).graph.initializer if len(t.dims) == 4
    ]
    expected = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert len(kernels) == len(expected)
    assert sum(int((k == 0).sum()) for k in kernels) >= sum(int((w == 0).sum()) for w in expected) > 0


def test_same_weights_same_bytes_and_the_model_is_left_as_it_was(network: nn.Module, tmp_path: Path) -> None:
    network.train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    for name in ("a", "b"):
        export_onnx(network, EXAMPLE, tmp_path / name / "m.onnx")
    assert (tmp_path / "a" / "m.onnx").read_bytes() == (tmp_path / "b" / "m.onnx").read_bytes()
    assert str(tmp_path).encode() not in (tmp_path / "a" / "m.onnx").read_bytes()
    assert network.training
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


@pytest.mark.parametrize("channels", [1, 3])
@torch.no_grad()
def test_serving_takes_images_as_stored(network: nn.Module, tmp_path: Path, channels: int) -> None:
    mean, std = (0.2, 0.3, 0.4), (0.1, 0.2, 0.3)
    assert export_serving_onnx(network, Preprocess(mean, std), (8, 8, channels), tmp_path / "s.onnx") <= 1e-4
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, channels), dtype=np.uint8)
    got = run(tmp_path / "s.onnx", "images", images)
    pixels = np.broadcast_to(images, (5, 8, 8, 3)).astype(np.float64) / 255
    x = ((pixels - mean) / std).transpose(0, 3, 1, 2)
    logits = network(torch.from_numpy(x).float()).double()
    wanted = logits.exp() / logits.exp().sum(1, keepdim=True)
    assert got.dtype == np.float32
    assert got.shape == (5, 4)
    assert np.allclose(got, wanted.numpy(), atol=1e-4)
    assert onnx.load(str(tmp_path / "s.onnx")).graph.output[0].name == "probabilities"


class Fickle(nn.Module):
    """Does something else while it is traced."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) + (1e-2 if is_tracing() else 0)


class FixedBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), -1) if not is_tracing() else x.reshape(1, -1)


def test_a_file_that_is_not_accepted_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    export_onnx(nn.Flatten(), EXAMPLE, path)
    before = path.stat().st_ino
    seen: list[tuple[str, int]] = []

    def refuse(file: Path) -> None:
        onnx.load(file)
        seen.append((file.name, path.stat().st_ino))
        raise ExportError("it is too small")

    with pytest.raises(ExportError, match="it is too small"):
        export_onnx(nn.Flatten(), EXAMPLE, path, accept=refuse)
    assert seen == [("m.onnx", before)], "the new file has the name, the old one its place"
    assert path.stat().st_ino == before and list(tmp_path.iterdir()) == [path]


class Rounded(nn.Module):
    """Float32 is 3e-4 off, as in deep networks whose weights are random."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) + (3e-4 if x.dtype == torch.float32 and not is_tracing() else 0)


def test_what_float32_rounds_is_no_fault_of_the_export(tmp_path: Path) -> None:
    assert export_onnx(Rounded(), EXAMPLE, tmp_path / "m.onnx") == pytest.approx(3e-4, rel=1e-2)


class NotANumber(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) * float("nan")


class Unsupported(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.svdvals(x[:, 0])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Fickle(), "differs from torch by 0.01"),
        (FixedBatch(), "any batch size"),
        (NotANumber(), "gives NaN"),
        (Unsupported(), "expected a model that exports"),
    ],
)
def test_a_model_that_does_not_carry_over_leaves_no_file(
    model: nn.Module, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ExportError, match=message) as caught:
        export_onnx(model, EXAMPLE, tmp_path / "m.onnx")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert not capfd.readouterr().out, "torch would print the graph"
