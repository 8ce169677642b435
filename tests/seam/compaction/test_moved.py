"""Slices, splits, shuffles, views and transpositions: which channels must go or stay, counted by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seam.inference.export import export_onnx
from seam.masks.groups import channel_groups
from tests.seam.compaction.small import IMAGES, Small, compacted, conv, ignore, kill


def _picked(pick, read=4):
    """Four channels of six are read, in some order; the last layer ignores the first of these."""
    network = Small(lambda m, x: m.b(pick(m.a(x))).flatten(1), a=conv(3, 6), b=conv(read, 2))
    ignore(network.b, 0)
    return network


@pytest.mark.parametrize(
    ("pick", "read"),
    [
        (lambda x: x[:, 1:5], [1, 2, 3, 4]),
        (lambda x: x[:, :-2], [0, 1, 2, 3]),
        (lambda x: x.narrow(1, 2, 4), [2, 3, 4, 5]),
        (lambda x: x[:, :4].flip(1), [3, 2, 1, 0]),
        (lambda x: torch.cat([x[:, 4:], x[:, :2]], 1), [4, 5, 0, 1]),
        (lambda x: torch.cat([x[:, ::2], x[:, 5:]], 1), [0, 2, 4, 5]),
        (lambda x: torch.cat([(y := x.split([1, 2, 3], 1))[1], y[2]], 1)[:, :4], [1, 2, 3, 4]),
        (lambda x: torch.cat(list(reversed(x.chunk(3, 1)))[:2], 1), [4, 5, 2, 3]),
        (lambda x: x.transpose(1, 2).contiguous().transpose(2, 1)[:, :4], [0, 1, 2, 3]),
        (lambda x: nn.ChannelShuffle(3)(x)[:, :4], [0, 2, 4, 1]),
        (lambda x: x.roll(2, 1)[:, :4], [4, 5, 0, 1]),
    ],
)
def test_of_what_is_picked_only_what_is_read_stays(pick, read):
    network = _picked(pick)
    groups = channel_groups(network, torch.zeros(IMAGES))
    assert groups.inputs["b"].tolist() == groups.outputs["a"][read].tolist()
    done = compacted(network)
    assert done.removed == {"a": 3}
    with torch.no_grad():
        expected = network.a.weight[sorted(read[1:])]
    assert torch.equal(done.module.a.weight, expected)


def test_channel_shuffle_by_hand_is_one_selection(tmp_path):
    def forward(m, x):
        n, c, h, w = (x := m.a(x)).shape
        return m.b(F.relu(x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w))).flatten(1)

    network = Small(forward, a=conv(3, 6), b=conv(6, 2))
    groups = channel_groups(network, torch.zeros(IMAGES))
    assert groups.inputs["b"].tolist() == groups.outputs["a"][[0, 3, 1, 4, 2, 5]].tolist()
    ignore(network.b, 1)  # channel 3
    kill(network.a, 2, bias=1.0)
    done = compacted(network)
    assert done.removed == {"a": 2}
    assert export_onnx(done.module, torch.randn(1, 3, 8, 8), tmp_path / "m.onnx") <= 1e-4


def test_a_split_whose_pieces_go_on_and_are_joined(tmp_path):
    """As in C2f of YOLOv8: a list that grows, and a concatenation of all."""

    def forward(m, x):
        parts = list(m.a(x).split((4, 4), 1))
        parts.append(F.silu(m.inner(parts[-1])))
        return m.b(torch.cat(parts, 1)).flatten(1)

    network = Small(forward, a=conv(3, 8), inner=conv(4, 4, padding=1), b=conv(12, 2))
    assert channel_groups(network, torch.zeros(IMAGES)).number == 12
    ignore(network.b, 0, 4, 9)
    ignore(network.inner, 0)
    done = compacted(network)
    assert done.removed == {"a": 2, "inner": 1}
    assert done.module.inner.weight.shape == (3, 3, 3, 3)
    assert export_onnx(done.module, torch.randn(1, 3, 8, 8), tmp_path / "m.onnx") <= 1e-4


def test_a_gate_for_each_channel_goes_with_it():
    def forward(m, x):
        x = m.a(x)
        gate = torch.sigmoid(m.up(F.relu(m.down(x.mean((2, 3))))))
        return m.b(x * gate[:, :, None, None]).flatten(1)

    network = Small(forward, a=conv(3, 6), down=nn.Linear(6, 4), up=nn.Linear(4, 6), b=conv(6, 2))
    assert channel_groups(network, torch.zeros(IMAGES)).number == 10
    ignore(network.b, 2)
    ignore(network.down, 2)
    ignore(network.up, 3)
    assert compacted(network).removed == {"a": 1, "up": 1, "down": 1}


def test_maxout_ties_its_halves():
    network = Small(lambda m, x: m.b(torch.maximum(*m.a(x).chunk(2, 1))).flatten(1), a=conv(3, 8), b=conv(4, 2))
    assert channel_groups(network, torch.zeros(IMAGES)).number == 4
    ignore(network.b, 1)
    done = compacted(network)
    assert done.removed == {"a": 2}
    assert torch.equal(done.module.a.weight, network.a.weight[[0, 2, 3, 4, 6, 7]])


def test_softmax_over_positions_is_followed():
    network = Small(lambda m, x: m.b(m.a(x).flatten(2).softmax(-1)).mean(2), a=conv(3, 4), b=nn.Conv1d(4, 2, 1))
    assert channel_groups(network, torch.zeros(IMAGES)).number == 4
    ignore(network.b, 2)
    assert compacted(network).removed == {"a": 1}


@pytest.mark.parametrize(("norm", "removed"), [(nn.InstanceNorm2d(6, affine=True), 1), (nn.GroupNorm(3, 6), 2)])
def test_norms_of_one_channel_or_a_few(norm, removed):
    network = Small(lambda m, x: m.b(m.norm(m.a(x))).flatten(1), a=conv(3, 6), b=conv(6, 2), norm=norm)
    assert channel_groups(network, torch.zeros(IMAGES)).number == 6 // removed
    ignore(network.b, 2, 3)
    done = compacted(network)
    assert done.removed == {"a": 2}
    assert done.module.norm.weight.shape == (4,)


def test_sizes_in_a_view_are_those_that_are_left():
    network = Small(lambda m, x: m.fc(m.a(x).view(-1, 4 * 36)), a=conv(3, 4), fc=nn.Linear(144, 2))
    ignore(network.fc, *range(36, 72))
    assert compacted(network).removed == {"a": 1}
    tokens = Small(
        lambda m, x: m.fc((y := m.a(x)).reshape(y.size(0), y.size(1), -1).mean(2)), a=conv(3, 4), fc=nn.Linear(4, 2)
    )
    ignore(tokens.fc, 2)
    assert compacted(tokens).removed == {"a": 1}
