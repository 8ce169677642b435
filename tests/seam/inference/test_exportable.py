"""Pools and views that ONNX, its exporter or engines read otherwise: torch's values by hand, and in the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seam.inference.counted import FileCounts, count_file
from seam.inference.export import export_onnx
from seam.inference.exportable import Exportable

X = torch.randn(2, 3, 10, 5, generator=torch.Generator().manual_seed(0))
ALL, SEQUENCES, VOLUMES = (slice(None),), (slice(None), slice(None), 0), (slice(None), None)
POOLS = {
    "rows and columns": (F.adaptive_avg_pool2d, (7, 3), ALL),
    "as many columns": (F.adaptive_avg_pool2d, (7, None), ALL),
    "more than there are": (F.adaptive_avg_pool2d, 11, ALL),
    "largest": (F.adaptive_max_pool2d, (3, 4), ALL),
    "sequences": (F.adaptive_avg_pool1d, 3, SEQUENCES),
    "largest of sequences": (F.adaptive_max_pool1d, 3, SEQUENCES),
    "volumes": (F.adaptive_avg_pool3d, (2, 3, 4), VOLUMES),
    "largest of volumes": (F.adaptive_max_pool3d, (2, 3, 4), VOLUMES),
}


class Pooled(nn.Module):
    def __init__(self, pool: str) -> None:
        super().__init__()
        self.pool, self.size, self.part = POOLS[pool]

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x[self.part], output_size=self.size).flatten(1)


@pytest.mark.parametrize("pool", POOLS)
def test_the_file_computes_what_torch_does(pool: str, tmp_path: Path) -> None:
    export_onnx(Pooled(pool), X, tmp_path / "pool.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "pool.onnx"), providers=["CPUExecutionProvider"])
    found = session.run(None, {"input": X.numpy()})[0]
    assert np.allclose(found, Pooled(pool)(X).numpy(), atol=1e-6)
    assert count_file(tmp_path / "pool.onnx") == FileCounts(0, 0, 0, 0)


def test_windows_by_hand() -> None:
    row = torch.tensor([[1.0, 2, 4, 8, 16]])
    with Exportable():
        means, largest = F.adaptive_avg_pool1d(row, 3), F.adaptive_max_pool1d(row, 3)
    assert torch.allclose(means, torch.tensor([[3 / 2, 14 / 3, 12]]))
    assert torch.equal(largest, torch.tensor([[2.0, 8, 16]]))


def test_parts_of_equal_size_stay_one_operator(tmp_path: Path) -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(5), nn.Flatten())
    export_onnx(network, torch.zeros(1, 3, 10, 10), tmp_path / "pool.onnx")
    kinds = [node.op_type for node in onnx.load(str(tmp_path / "pool.onnx")).graph.node]
    assert kinds == ["AveragePool", "Flatten"]


def test_indices_of_the_largest_are_torchs() -> None:
    with Exportable():
        values, indices = F.adaptive_max_pool2d(X, 3, return_indices=True)
    assert torch.equal(values, F.adaptive_max_pool2d(X, 3))
    assert torch.equal(indices, F.adaptive_max_pool2d(X, 3, return_indices=True)[1])


@pytest.mark.parametrize("pad", [nn.ZeroPad2d(1), nn.ConstantPad2d((0, 1, 0, 1), -2.5), nn.ReflectionPad2d(1)])
def test_what_is_padded_in_front_of_a_maximum_counts(pad: nn.Module, tmp_path: Path) -> None:
    network, images = nn.Sequential(pad, nn.MaxPool2d(3, 2), nn.Flatten()), -1 - torch.rand(X.shape)
    export_onnx(network, X, tmp_path / "pool.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "pool.onnx"), providers=["CPUExecutionProvider"])
    assert np.array_equal(session.run(None, {"input": images.numpy()})[0], network(images).numpy())


class Unflattened(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(1).unflatten(1, (3, -1)).transpose(1, 2).transpose(1, 2)
        return rows.reshape(rows.size(0), -1)


def test_behind_an_unflatten_the_batch_has_any_size(tmp_path: Path) -> None:
    assert export_onnx(Unflattened(), X[:1], tmp_path / "m.onnx") == 0
