"""Channels laid out along several axes, values beside each other, other spellings: what goes together, by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seam.compaction.trace import trace
from seam.inference.export import export_onnx
from seam.masks.channels import ScoredChannels
from seam.masks.groups import channel_groups
from seam.masks.masks import apply_masks
from seam.masks.scores import masks_of
from tests.seam.compaction.small import IMAGES, Small, compacted, conv, ignore, kill, settled

PAIRS, HALVES = [0, 0, 1, 1, 2, 2, 3, 3], [0, 1, 2, 3, 0, 1, 2, 3]


def _view(x, *sizes):
    return x.view(len(x), *sizes, *x.shape[2:])


MAXOUTS = {
    "every two": (lambda x: _view(x, x.shape[1] // 2, 2).max(2)[0], PAIRS),
    "every two, by name": (lambda x: torch.max(_view(x, -1, 2), dim=2).values, PAIRS),
    "every two, kept": (lambda x: _view(x, 4, 2).max(2, keepdim=True)[0].squeeze(2), PAIRS),
    "every two, unflattened": (lambda x: x.unflatten(1, (-1, 2)).amax(2), PAIRS),
    "halves": (lambda x: _view(x, 2, 4).max(1)[0], HALVES),
    "halves, apart": (lambda x: torch.max(*x.split(4, 1)), HALVES),
    "halves, least": (lambda x: -(-x).reshape(x.size(0), 2, 4, *x.shape[2:]).min(1)[0], HALVES),
    "halves, stacked": (lambda x: torch.stack(list(x.chunk(2, 1)), 1).max(1)[0], HALVES),
}


@pytest.mark.parametrize("maxout", MAXOUTS)
def test_a_maximum_over_channels_loses_all_that_it_is_of(maxout, tmp_path):
    forward, together = MAXOUTS[maxout]
    network = Small(lambda m, x: m.b(forward(m.a(x))).flatten(1), a=conv(3, 8), b=conv(4, 2))
    groups = channel_groups(network, torch.zeros(IMAGES))
    assert groups.outputs["a"].tolist() == together and groups.inputs["b"].tolist() == [0, 1, 2, 3]
    ignore(network.b, 1, 3)
    done = compacted(network)
    assert done.removed == {"a": 4}
    left = [i for i, group in enumerate(together) if group in (0, 2)]
    assert torch.equal(done.module.a.weight, network.a.weight[left])
    assert export_onnx(done.module, torch.randn(1, *IMAGES[1:]), tmp_path / "m.onnx") <= 1e-4


def test_a_maximum_over_features_of_a_linear_layer(tmp_path):
    network = Small(
        lambda m, x: m.b(m.a(x.mean((2, 3))).view(len(x), -1, 3).max(2)[0]), a=nn.Linear(3, 12), b=nn.Linear(4, 2)
    )
    assert channel_groups(network, torch.zeros(IMAGES)).outputs["a"].tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    ignore(network.b, 2)
    done = compacted(network)
    assert done.removed == {"a": 3}
    assert export_onnx(done.module, torch.randn(1, *IMAGES[1:]), tmp_path / "m.onnx") <= 1e-4


def test_a_constant_is_one_only_where_all_that_lie_together_are():
    network = Small(lambda m, x: m.b(m.a(x).view(-1, 2, 2, 6, 6).amax(2)).flatten(1), a=conv(3, 4), b=conv(2, 2))
    kill(network.a, 0, 1, bias=0.5)
    kill(network.a, 2, bias=0.5)
    assert compacted(network).removed == {"a": 2}
    kill(network.a, 0, bias=0.25)
    assert compacted(network).removed == {}, "the larger of two constants"


def _to_depth(x, order):
    n, c, h, w = x.size()
    return x.view(n, c, h // 2, 2, w // 2, 2).permute(order).contiguous().view(n, 4 * c, h // 2, w // 2)


def _to_space(x):
    n, c, h, w = x.size()
    return x.view(n, 2, 2, c // 4, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // 4, 2 * h, 2 * w)


DEPTHS = {
    "blocks": (lambda x: _to_depth(x, (0, 3, 5, 1, 2, 4)), [0, 1, 2, 3] * 4),
    "one after the other": (lambda x: _to_depth(x, (0, 1, 3, 5, 2, 4)), [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4),
    "torch's": (lambda x: F.pixel_unshuffle(x, 2), [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4),
    "slices": (
        lambda x: torch.cat([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)], 1),
        [0, 1, 2, 3] * 4,
    ),
}


@pytest.mark.parametrize("depth", DEPTHS)
def test_pixels_become_channels_that_go_with_theirs(depth, tmp_path):
    forward, together = DEPTHS[depth]
    network = Small(lambda m, x: m.b(forward(m.a(x))).mean((2, 3)), a=conv(3, 4, padding=1), b=conv(16, 2))
    assert channel_groups(network, torch.zeros(IMAGES)).inputs["b"].tolist() == together
    ignore(network.b, *[i for i, group in enumerate(together) if group in (1, 2)])
    done = compacted(network)
    assert done.removed == {"a": 2} and done.module.b.weight.shape[1] == 8
    assert export_onnx(done.module, torch.randn(1, *IMAGES[1:]), tmp_path / "m.onnx") <= 1e-4


def test_channels_become_pixels_four_at_a_time(tmp_path):
    network = Small(lambda m, x: m.b(_to_space(m.a(x))).mean((2, 3)), a=conv(3, 32, padding=1), b=conv(8, 2))
    assert channel_groups(network, torch.zeros(IMAGES)).outputs["a"].tolist() == list(range(8)) * 4
    ignore(network.b, 0, 5)
    done = compacted(network)
    assert done.removed == {"a": 8}
    assert export_onnx(done.module, torch.randn(1, *IMAGES[1:]), tmp_path / "m.onnx") <= 1e-4


class GroupNormReLU(nn.GroupNorm):
    def forward(self, x):
        return F.relu(F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps))


KNOWN = {
    "group norm as a function": (lambda m, x: m.norm(x), [0, 0, 1, 1, 2, 2], {"norm": GroupNormReLU(3, 6)}),
    "zeros around": (lambda m, x: m.pad(x), range(6), {"pad": nn.ZeroPad2d(1)}),
    "a constant around": (lambda m, x: m.pad(x), range(6), {"pad": nn.ConstantPad2d((0, 1, 2, 0), 0.0)}),
    "reflections around": (lambda m, x: m.pad(x), range(6), {"pad": nn.ReflectionPad2d(1)}),
    "made larger": (lambda m, x: m.up(x), range(6), {"up": nn.Upsample(scale_factor=2)}),
    "made smaller": (lambda m, x: F.interpolate(x, size=3, mode="bilinear"), range(6), {}),
    "rolled": (lambda m, x: torch.roll(x, (1, -2), (2, 3)), range(6), {}),
    "totals": (lambda m, x: x * x.sum((2, 3), keepdim=True).sigmoid(), range(6), {}),
    "the shape of another": (lambda m, x: x.flatten(2).reshape_as(x), range(6), {}),
    "some sizes": (lambda m, x: x.reshape(*x.shape[:1], x.shape[1], -1)[..., None], range(6), {}),
}


@pytest.mark.parametrize("known", KNOWN)
def test_what_treats_channels_one_by_one_is_known(known, tmp_path):
    forward, together, layers = KNOWN[known]
    network = Small(lambda m, x: m.b(forward(m, m.a(x))).mean((2, 3)), a=conv(3, 6), b=conv(6, 2, 1), **layers)
    assert channel_groups(network, torch.zeros(IMAGES)).outputs["a"].tolist() == list(together)
    ignore(network.b, 2, 3)
    done = compacted(network)
    assert done.removed == {"a": 2}
    assert export_onnx(done.module, torch.randn(1, *IMAGES[1:]), tmp_path / "m.onnx") <= 1e-4


def _selected(m, x):
    """As in selective kernels: two branches, weighted for each channel."""
    x = torch.stack([m.a(x), m.c(x)], 1)
    gate = m.up(F.relu(m.down(x.sum(1).mean((2, 3), keepdim=True))))
    n, c = gate.shape[:2]
    return m.b((x * gate.view(n, 2, c // 2, 1, 1).softmax(1)).sum(1)).mean((2, 3))


def _split(m, x):
    """As in ResNeSt: groups of a convolution, weighted for each channel."""
    x = m.a(x)
    x = x.reshape(x.shape[0], 2, x.shape[1] // 2, *x.shape[2:])
    gate = m.up(F.relu(m.down(x.sum(1).mean((2, 3), keepdim=True))))
    gate = gate.view(len(x), 1, 2, -1).transpose(1, 2).softmax(1).reshape(len(x), -1).view(len(x), -1, 1, 1)
    return m.b((x * gate.reshape(len(x), 2, -1, 1, 1)).sum(1)).mean((2, 3))


def _tokens(m, x):
    """As in LeViT: BatchNorm over all tokens."""
    x = m.a(x).flatten(2).transpose(1, 2)
    x = m.up(x)
    x = m.norm(x.flatten(0, 1)).reshape_as(x)
    return m.b(F.hardswish(x)).mean(1)


def _positions(m, x):
    """As in EdgeNeXt: positions counted for each image, which no channel depends on."""
    x = m.a(x)
    n, _, h, w = x.shape
    rows = torch.ones((n, h, w), device=x.device).cumsum(1)
    table = torch.stack((rows.sin(), rows.cos()), 1)
    return m.b(F.relu(x + m.up(table))).mean((2, 3))


WHOLE = {
    "selective kernels": (_selected, [("a", 8), ("c", 8), ("down", 6), ("up", 16)], 14),
    "split attention": (_split, [("a", 16), ("down", 6), ("up", 16)], 14),
    "norm over tokens": (_tokens, [("a", 6), ("up", 8)], 14),
    "positions": (_positions, [("a", 6), ("up", 6)], 6),
}
LAYERS = {
    "selective kernels": lambda: {
        "a": conv(3, 8, padding=1),
        "c": conv(3, 8, padding=1),
        "down": conv(8, 6, 1),
        "up": conv(6, 16, 1),
        "b": conv(8, 2),
    },
    "split attention": lambda: {"a": conv(3, 16), "down": conv(8, 6, 1), "up": conv(6, 16, 1), "b": conv(8, 2)},
    "norm over tokens": lambda: {
        "a": conv(3, 6),
        "up": nn.Linear(6, 8),
        "norm": nn.BatchNorm1d(8),
        "b": nn.Linear(8, 2),
    },
    "positions": lambda: {"a": conv(3, 6), "up": conv(2, 6, 1), "b": conv(6, 2)},
}


@pytest.mark.parametrize("name", WHOLE)
@torch.no_grad()
def test_parts_of_networks_lose_channels_exactly(name, tmp_path):
    forward, widths, number = WHOLE[name]
    torch.manual_seed(0)
    network = settled(Small(forward, **LAYERS[name]()), torch.randn(8, *IMAGES[1:]))
    groups = channel_groups(network, torch.zeros(IMAGES))
    assert groups.number == number
    assert all(bool((groups.outputs[layer] >= 0).all()) for layer, _ in widths), "all but the scores can go"
    scored = ScoredChannels(network, groups)
    scored.keep_groups(torch.arange(number) % 2 == 0)
    apply_masks(network, masks_of(scored))
    if hasattr(network, "norm"):
        network.norm.bias.zero_(), network.norm.running_mean.zero_()
    done = compacted(network)
    assert done.removed == {layer: width // 2 for layer, width in widths}
    assert export_onnx(done.module, torch.randn(1, *IMAGES[1:]), tmp_path / "m.onnx") <= 1e-4


def test_torch_and_python_are_as_they_were_after_a_trace():
    before = (torch.zeros, torch.arange, len)
    network = Small(lambda m, x: m.a(x).view(len(x), -1) + torch.zeros(len(x), 1), a=conv(3, 2))
    found = trace(network.eval().requires_grad_(False), torch.zeros(IMAGES))
    assert (torch.zeros, torch.arange, len) == before
    assert found.module(torch.zeros(5, *IMAGES[1:])).shape == (5, 72)
