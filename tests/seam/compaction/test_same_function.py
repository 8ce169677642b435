"""The same function on every architecture, and nothing but smaller."""

import pytest
import torch
from torch import nn

from seam.inference.export import export_onnx
from seam.networks.build import build
from tests.seam.architectures import BUILT_IN, HEAVY, LIGHT
from tests.seam.compaction.masked import RATES, vision_transformer, with_removed
from tests.seam.compaction.small import compacted, num_weights, settled


def _conforms(network, side, kinds, exported_to=None):
    network = settled(network, torch.randn(8, 3, side, side))
    for kind in kinds:
        masked = with_removed(network, kind)
        done = compacted(masked, (2, 3, side, side))
        assert all(done.kept.values())
        sizes = {name: m.weight.shape[0] for name, m in masked.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
        smaller = dict(done.module.named_modules())
        for name, removed in done.removed.items():
            left = smaller[name].weight.shape[0] if name in smaller and hasattr(smaller[name], "weight") else 0
            assert left == sizes.get(name, removed) - removed, (kind, name)
        if kind == "nothing":
            assert (done.removed, done.kept) == ({}, {})
        if "filters" in kind:
            assert num_weights(done.module) < 0.95 * num_weights(masked)
            assert len(done.removed) > 1
        if kind == "half the filters" and exported_to:
            assert export_onnx(done.module, torch.randn(1, 3, side, side), exported_to) <= 1e-4


@pytest.mark.parametrize("name", LIGHT)
def test_the_same_function_on_torchvisions(name, tmp_path):
    kinds = ("nothing", "half", "nearly all", "half the filters", "three layers")
    _conforms(build(f"torchvision:{name}", 10), 64, kinds, tmp_path / "m.onnx")


@pytest.mark.parametrize("name", HEAVY)
def test_the_same_function_on_larger_ones_of_torchvision(name):
    _conforms(build(f"torchvision:{name}", 10), 32, ("nearly all", "half the filters", "three layers"))


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_same_function_on_the_built_in_ones(name, tmp_path):
    _conforms(build(name, 10), 32, (*RATES, "three layers"), tmp_path / "m.onnx")


def test_the_same_function_on_a_vision_transformer(tmp_path):
    _conforms(vision_transformer(tmp_path), 32, (*RATES, "three layers"), tmp_path / "m.onnx")
