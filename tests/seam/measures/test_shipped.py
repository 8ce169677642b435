"""What is claimed of a network against what its file has: what is so is never refused, what is wrong is caught."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from seam.compaction import compact
from seam.errors import ExportError
from seam.inference.counted import FileCounts, count_file
from seam.inference.export import export_onnx, write_unchecked
from seam.masks.masks import apply_masks
from seam.masks.unsearched import random_mask
from seam.measures.macs import Counts, count
from seam.measures.shipped import Claim, check_shipped
from tests.seam.kinds import KINDS, Normalised, Tied

IMAGE = torch.zeros(1, 3, 8, 8)
KEYS = ("params_total", "params_nonzero", "macs_dense", "macs_nonzero")


def exported(make: Callable[[], nn.Module], path: Path) -> nn.Module:
    """A network with a third of its weights, and its file."""
    torch.manual_seed(0)
    network = make().eval()
    apply_masks(network, random_mask(network, 0.3, 0))
    write_unchecked(network, IMAGE, path)
    return network


def check(path: Path, network: nn.Module, counts: Counts, **off: int) -> None:
    """Check a claim, some of whose numbers are off by this much."""
    said = asdict(counts)
    check_shipped(path, network, IMAGE, Claim(said | {k: said[k] + n for k, n in off.items()}, "somebody", "mend it"))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_nothing_that_is_so_is_refused(kind: type[nn.Module], tmp_path: Path) -> None:
    network = exported(kind, tmp_path / "m.onnx")
    counts = count(network, IMAGE)
    check(tmp_path / "m.onnx", network, counts)
    for key in KEYS:  # more than what may be stored in several places, or is computed for nothing
        for off in (-100_000, 100_000):
            with pytest.raises(ExportError, match=r"^m\.onnx: expected [\d,]+ (to [\d,]+ )?[a-z- ]+ in its"):
                check(tmp_path / "m.onnx", network, counts, **{key: off})


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("off", [-1, 1])
def test_one_more_or_less_is_caught(key: str, off: int, tmp_path: Path) -> None:
    network = exported(Normalised, tmp_path / "m.onnx")
    with pytest.raises(ExportError, match=r"as somebody says [\d,]+ of Normalised in all, got [\d,]+; mend it\.$"):
        check(tmp_path / "m.onnx", network, count(network, IMAGE), **{key: off})


def test_a_tensor_of_several_layers_is_counted_once(tmp_path: Path) -> None:
    network = exported(Tied, tmp_path / "m.onnx")
    for key in ("params_total", "params_nonzero"):
        for off in (-1, 1, 2 * 64 * 64):
            with pytest.raises(ExportError, match="weights in its"):
                check(tmp_path / "m.onnx", network, count(network, IMAGE), **{key: off})


@torch.no_grad()
def test_a_compacted_network_is_its_file(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 6), nn.Flatten()).eval()
    network[0].weight[2:] = 0
    smaller = compact(network, IMAGE).module
    export_onnx(smaller, IMAGE, tmp_path / "m.onnx")
    whole, counts = count(network, IMAGE), count(smaller, IMAGE)
    assert counts.params_total < whole.params_total
    check(tmp_path / "m.onnx", smaller, counts)
    with pytest.raises(ExportError, match="weights in its"):
        check(tmp_path / "m.onnx", smaller, whole)


def test_a_file_by_hand(tmp_path: Path) -> None:
    network = Normalised().eval()
    with torch.no_grad():
        network[0].weight[0] = 0  # 27 weights
        network[3].weight[1, 0, 0] = 0  # 3 weights
        network[6].weight[:, 3] = 0  # 5 weights
    export_onnx(network, IMAGE, tmp_path / "m.onnx")
    conv, grouped, linear = 4 * 3 * 9, 6 * 2 * 9, 5 * 6
    macs = conv * 64 + grouped * 9 + linear
    assert count_file(tmp_path / "m.onnx") == FileCounts(
        weights=conv + grouped + linear,
        weights_nonzero=conv + grouped + linear - 35,
        macs_dense=macs,
        macs_nonzero=macs - 27 * 64 - 3 * 9 - 5,
    )


@pytest.mark.parametrize(
    ("equation", "first", "second", "macs"),
    [
        ("bid,dk->bik", (1, 3, 4), (4, 5), 60),
        ("...d, dk -> ...k", (1, 2, 3, 4), (4, 5), 120),
        ("bd,dk", (1, 4), (4, 5), 20),
        ("bid,dk->k", (1, 3, 4), (4, 5), 20),  # of one factor alone it sums that factor
        ("bid,d->bid", (1, 3, 4), (4,), 0),  # no product of matrices
    ],
)
def test_sums_of_products_by_hand(
    equation: str, first: tuple[int, ...], second: tuple[int, ...], macs: int, tmp_path: Path
) -> None:
    helper, kind = onnx.helper, 1  # float32
    node = helper.make_node("Einsum", ["x", "w"], ["y"], equation=equation)
    weight = onnx.numpy_helper.from_array(torch.ones(second).numpy(), "w")
    given, made = helper.make_tensor_value_info("x", kind, first), helper.make_tensor_value_info("y", kind, None)
    graph = helper.make_graph([node], "g", [given], [made], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(tmp_path / "m.onnx"))
    found = count_file(tmp_path / "m.onnx")
    assert found is not None
    assert found.macs_dense == macs
    assert found.weights == (weight.dims[0] * 5 if macs else 0)


def test_zeros_that_do_not_stay_are_caught(tmp_path: Path) -> None:
    class Centred(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return self._conv_forward(x, self.weight - self.weight.mean(), self.bias)

    network = exported(lambda: nn.Sequential(Centred(3, 4, 3), nn.Flatten()), tmp_path / "m.onnx")
    with pytest.raises(ExportError, match="non-zero weights in its"):
        check(tmp_path / "m.onnx", network, count(network, IMAGE))
    kept = exported(lambda: nn.Sequential(weight_norm(nn.Conv2d(3, 4, 3)), nn.Flatten()), tmp_path / "m.onnx")
    check(tmp_path / "m.onnx", kept, count(kept, IMAGE))


def test_a_file_of_other_weights_is_caught(tmp_path: Path) -> None:
    network = exported(Normalised, tmp_path / "m.onnx")
    export_onnx(Normalised().eval(), IMAGE, tmp_path / "m.onnx")
    with pytest.raises(ExportError, match="non-zero weights"):
        check(tmp_path / "m.onnx", network, count(network, IMAGE))


@torch.no_grad()
def test_a_scale_of_zero_may_be_folded(tmp_path: Path) -> None:
    network = Normalised().eval()
    network[1].weight[2] = 0
    export_onnx(network, IMAGE, tmp_path / "m.onnx")
    check(tmp_path / "m.onnx", network, count(network, IMAGE))


def test_a_file_that_cannot_be_counted_is_no_fault(tmp_path: Path) -> None:
    class Steps(nn.Module):
        """A loop over a number of steps that the input decides."""

        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return repeated(x.mean((1, 2)), self.fc.weight)

    network = Steps().eval()
    write_unchecked(network, IMAGE, tmp_path / "m.onnx")
    assert count_file(tmp_path / "m.onnx") is None
    check(tmp_path / "m.onnx", network, count(network, IMAGE), params_nonzero=5)


@torch.jit.script
def repeated(x: Tensor, weight: Tensor) -> Tensor:
    """A matrix product for every image."""
    for _ in range(x.shape[0]):
        x = x @ weight
    return x
