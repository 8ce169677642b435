"""Transposed convolutions, gates and pixel shuffles: which channels must go or stay, counted by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seam.compaction.layers import by_output, put_weight
from seam.inference.export import export_onnx
from seam.masks.channels import ScoredChannels
from seam.masks.groups import channel_groups
from seam.masks.masks import apply_masks
from seam.masks.scores import density_of, masks_of
from tests.seam.compaction.small import IMAGES, Small, compacted, conv, ignore, kill, num_weights, settled


def _up(groups=1, **options):
    layers = {
        "a": conv(3, 4, 3, stride=2),
        "up": nn.ConvTranspose2d(4, 6, 3, 2, groups=groups, **options),
        "norm": nn.BatchNorm2d(6),
        "b": conv(6, 2),
    }
    network = Small(lambda m, x: m.b(F.relu(m.norm(m.up(F.relu(m.a(x)))))).mean((2, 3)), **layers)
    return settled(network, torch.randn(8, *IMAGES[1:]))


@pytest.mark.parametrize("groups", [1, 2])
def test_the_weights_of_a_transposed_convolution_by_output(groups):
    layer = nn.ConvTranspose2d(4, 6, 3, groups=groups).requires_grad_(False)
    before, weight = layer.weight.clone(), by_output(layer)
    for out in range(6):  # each output alone, and what it reads
        alone = nn.ConvTranspose2d(4, 6, 3, groups=groups, bias=False).requires_grad_(False)
        put_weight(alone, weight * (torch.arange(6) == out).view(-1, 1, 1, 1))
        made = alone(torch.randn(1, 4, 3, 3)).abs().amax((0, 2, 3)) > 0
        assert made.tolist() == [o == out for o in range(6)]
    put_weight(layer, weight)
    assert torch.equal(layer.weight, before)


def test_a_transposed_convolution_loses_what_it_makes_and_reads(tmp_path):
    network = _up()
    groups = channel_groups(network, torch.zeros(IMAGES))
    assert groups.number == 10
    assert groups.inputs["up"].tolist() == groups.outputs["a"].tolist()
    ignore(network.b, 1, 5)
    with torch.no_grad():
        network.up.weight[2] = 0
    done = compacted(network)
    assert done.removed == {"a": 1, "up": 2}
    assert done.module.up.weight.shape == (3, 4, 3, 3)
    assert export_onnx(done.module, torch.randn(IMAGES)[:1], tmp_path / "m.onnx") <= 1e-4


def test_a_constant_is_none_behind_a_transposed_convolution():
    network = _up()
    kill(network.a, 0, 1, bias=1.0)
    done = compacted(network)
    assert done.removed == {"a": 1}  # the other carries both
    assert "not zero" in done.kept["a"]
    kill(network.a, 0, 1, bias=-1.0)  # zero behind the ReLU
    assert compacted(network).removed == {"a": 2}


@pytest.mark.parametrize("groups", [1, 2])
def test_half_of_a_transposed_convolution_goes_exactly(groups, tmp_path):
    network = _up(groups, output_padding=1)
    found = channel_groups(network, torch.zeros(IMAGES))
    scored = ScoredChannels(network, found)
    with torch.no_grad():
        scored.scores.copy_(torch.rand(found.number))
    scored.keep(0.6)
    masked = density_of(scored)
    apply_masks(network, masks_of(scored))
    with torch.no_grad():
        network.norm.bias.zero_()
        network.norm.running_mean.zero_()
        network.up.bias.zero_()
    done = compacted(network)
    left = sum(getattr(done.module, name).weight.numel() for name in ("a", "up", "b"))
    assert left <= masked * num_weights(network)
    assert export_onnx(done.module, torch.randn(IMAGES)[:1], tmp_path / "m.onnx") <= 1e-4


@pytest.mark.parametrize("gate", [lambda x: F.glu(x, 1), nn.GLU(1), lambda x: (y := x.chunk(2, 1))[0] * y[1].sigmoid()])
def test_a_gate_goes_with_what_it_opens(gate):
    network = Small(lambda m, x: m.b(gate(m.a(x))).flatten(1), a=conv(3, 8), b=conv(4, 2))
    groups = channel_groups(network, torch.zeros(IMAGES))
    assert groups.outputs["a"].tolist() == [*groups.inputs["b"].tolist()] * 2
    assert groups.number == 4
    ignore(network.b, 1)
    kill(network.a, 3)  # zero, whatever its gate is
    done = compacted(network)
    assert done.removed == {"a": 4}
    assert torch.equal(done.module.a.bias, network.a.bias[[0, 2, 4, 6]])


def test_pixels_of_channels_and_channels_of_pixels(tmp_path):
    layers = {"a": conv(3, 8, padding=1), "b": conv(2, 3), "shuffle": nn.PixelShuffle(2)}
    network = Small(lambda m, x: m.b(m.shuffle(m.a(x))).flatten(1), **layers)
    groups = channel_groups(network, torch.zeros(IMAGES))
    assert groups.outputs["a"].tolist() == groups.inputs["b"].repeat_interleave(4).tolist()
    ignore(network.b, 0)
    done = compacted(network)
    assert done.removed == {"a": 4}
    assert torch.equal(done.module.a.bias, network.a.bias[4:])
    assert export_onnx(done.module, torch.randn(IMAGES)[:1], tmp_path / "m.onnx") <= 1e-4
    network = Small(lambda m, x: m.b(F.pixel_unshuffle(m.a(x), 2)).flatten(1), a=conv(3, 3, padding=1), b=conv(12, 2))
    groups = channel_groups(network, torch.zeros(IMAGES))
    assert groups.inputs["b"].tolist() == groups.outputs["a"].repeat_interleave(4).tolist()
    ignore(network.b, 4, 5, 7)
    assert compacted(network).removed == {}
    ignore(network.b, 6)
    assert compacted(network).removed == {"a": 1}
