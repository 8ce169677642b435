"""What is not known reads every channel, and is named; what cannot be traced is left as it is."""

import operator

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seam.compaction import compact
from tests.seam.compaction.small import IMAGES, Small, assert_same, compacted, conv, ignore, kill, num_weights


@pytest.mark.parametrize(
    ("forward", "why"),
    [
        (lambda m, x: m.b(m.a(x).softmax(1)), "'softmax' reads"),
        (lambda m, x: m.b(m.norm(m.a(x))), "in the statistics of 'norm'"),
        (lambda m, x: m.b(m.statistics(m.a(x))), "'statistics' reads"),
        (lambda m, x: m.b(m.a(x).flatten(0, 1).unflatten(0, (-1, 4))), "'flatten' reads"),
        (lambda m, x: m.b(m.a(x).view(-1, 2, 6, 6).mul(2).view(-1, 4, 6, 6)), "'view' reads"),
        (lambda m, x: (y := m.a(x).max(1, keepdim=True))[0] * y[1], "'max_1' reads"),
        (lambda m, x: m.b(torch.stack([m.a(x), m.a(x)]).sum(0)), "'stack' reads"),
        (lambda m, x: m.b(m.a(x) * m.scale), "tied to other channels by 'mul'"),
        (lambda m, x: m.b(F.conv2d(m.a(x), m.scale.unsqueeze(0).expand(4, -1, -1, -1))), "'conv2d' reads"),
        (lambda m, x: m.b((y := m.a(x)) * m.gate(y)), "tied to channels in use"),
        (lambda m, x: m.b(m.a(x) @ x[:, :1, :6, :6]), "'matmul' reads"),
        (lambda m, x: m.a(x).mean(1), "'mean' reads"),
        (lambda m, x: m.b(torch.cat(m.a(x).chunk(2, 1), 1)), "'cat' reads"),
        (lambda m, x: m.b(m.a(x)[:, 1].unsqueeze(1).expand(-1, 4, -1, -1)), "'getitem' reads"),
        (lambda m, x: m.b(torch.cat([y := m.a(x), y * 2], 2)), "tied to channels in use"),
        (lambda m, x: m.b(torch.cat(tensors=[y := m.a(x), y], dim=2)), "'cat' reads"),
        (lambda m, x: m.b(F.pad(m.a(x) * 0, (1, 0, 0, 0), value=1.0)), "'pad' reads"),
        (lambda m, x: m.b(F.pad(m.a(x), (1, 0, 0, 0))), "padded"),
        (lambda m, x: m.b(F.dropout(m.a(x), 1e-9, True)), "'dropout' reads"),
        (lambda m, x: m.last(m.a(x)), "'last' reads"),
    ],
)
def test_what_is_not_known_reads_every_channel(forward, why):
    layers = {
        "a": conv(3, 4),
        "b": conv(4, 4, 2),
        "gate": conv(4, 1, 1),
        "last": nn.Linear(6, 2),
        "norm": nn.GroupNorm(1, 4),
    }
    network = Small(
        lambda m, x: forward(m, x).flatten(1), **layers, statistics=nn.BatchNorm2d(4, track_running_stats=False)
    )
    network.scale = nn.Parameter(torch.ones(4, 1, 1))
    kill(network.a, 0, bias=1.0)
    done = compacted(network) if "statistics" not in why else compact(network, torch.randn(IMAGES))
    assert done.removed == {}
    assert why in done.kept["a"]


def test_a_number_of_channels_that_is_asked_for_stays_that_of_the_given_network():
    for forward in (lambda m, x: m.b(y := m.a(x)) * y.size(1), lambda m, x: m.b(y := m.a(x)) / y.shape[1] ** 0.5):
        network = Small(lambda m, x, f=forward: f(m, x).flatten(1), a=conv(3, 4), b=conv(4, 2))
        kill(network.a, 0, bias=1.0)
        assert compacted(network).removed == {"a": 1}


def test_channels_along_another_axis_are_not_mixed_up():
    forwards = {
        "bn": lambda m, x: m.b(m.bn(m.a(x.flatten(2)))),
        "pool": lambda m, x: m.b(m.pool(m.a(x.flatten(2))).flatten(1)),
    }
    for name, forward in forwards.items():
        layers = {
            "a": nn.Linear(64, 3),
            "b": nn.Linear(3, 2),
            "bn": nn.BatchNorm1d(3),
            "pool": nn.AdaptiveAvgPool1d(1),
        }
        tokens = Small(forward, **layers)
        kill(tokens.a, 0)
        done = compacted(tokens)
        assert (done.removed, done.kept) == ({}, {"a": f"'{name}' reads every channel"})
    layers = {"a": conv(3, 2, 7), "b": conv(2, 2, 1), "c": conv(2, 2, 1)}
    shifted = Small(
        lambda m, x: m.c((y := m.a(x)) + m.b(y).mean((2, 3))).flatten(1), **layers
    )  # adds along rows and columns
    kill(shifted.a, 0, bias=1.0)
    kill(shifted.b, 0, bias=1.0)
    done = compact(shifted, torch.randn(IMAGES))
    assert done.removed == {}
    assert set(done.kept) == {"a", "b"}
    assert_same(shifted, done.module, torch.randn(IMAGES))


def test_a_pool_over_channels_reads_them_all():
    network = Small(
        lambda m, x: m.b(m.pool(m.a(x.flatten(2))).flatten(1)),
        a=nn.Conv1d(3, 4, 3),
        pool=nn.AvgPool2d(2),
        b=nn.Linear(62, 2),
    )
    kill(network.a, 0)
    done = compacted(network)
    assert (done.removed, done.kept) == ({}, {"a": "'pool' reads every channel"})


def test_what_is_dead_in_layers_that_are_not_followed_is_listed():
    def forward(m, x):
        return m.last(m.twice(m.twice(m.grouped(m.up(x).softmax(1)))).flatten(1))

    layers = {
        "up": conv(3, 4, 1),
        "grouped": conv(4, 4, groups=2),
        "twice": conv(4, 4),
        "last": nn.Linear(4 * 4, 2),
    }
    network = Small(forward, **layers)
    with torch.no_grad():
        network.up.weight[1] = 0
    network.up.register_forward_hook(lambda m, inputs, output: output * 2)
    for layer in (network.grouped, network.twice):
        kill(layer, 3)
    done = compacted(network)
    assert done.kept == {
        "up": "it is a layer of another kind, has hooks, or something else reads its weights",
        "grouped": "of what it reads nothing is known",
        "twice": "tied to channels in use",
    }


def test_weights_with_another_use_stay_as_they_are():
    network = Small(
        lambda m, x: m.b(m.a(x)).mean((2, 3)) @ m.b.weight.sum((1, 2, 3)).diag(), a=conv(3, 4), b=conv(4, 4)
    )
    kill(network.a, 0, bias=1.0)
    assert compacted(network).removed == {}


def test_hooked_layers_stay_as_they_are():
    network = nn.Sequential(
        conv(3, 4), conv(4, 4), nn.ReLU(), conv(4, 4, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)
    )
    ignore(network[6], *range(4))
    assert compacted(network).removed == {"3": 1}
    kill(network[0], 0, bias=1.0)
    assert compacted(network).removed == {"0": 1, "3": 1}
    network[1].register_forward_hook(lambda m, inputs, output: output + inputs[0].sum())
    assert compacted(network).removed == {"3": 1}


class Branches(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Counted(nn.Module):
    def forward(self, x):
        return x if len(x) == 2 else -x


class Augmented(nn.Module):
    def forward(self, x):
        y = x
        y -= 1
        y *= 2
        y /= 3
        y += 4
        return x + y


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (Branches(), "decides by the content of images in line "),
        (Branches(), "of test_not_followed.py, `return x if x.sum() > 0 else -x`"),
        (Counted(), "decides by the number of images in line"),
        (Small(lambda m, x: torch.cat([y * 2 for y in x])), "the number of images"),
        (Small(lambda m, x: F.relu(x, inplace=True) + x), "in place"),
        (Small(lambda m, x: x.view(-1).mul_(2) is x or x), "in place"),
        (Small(lambda m, x: operator.iadd(x, 1) + x), "in place"),
        (Augmented(), "in place"),
    ],
)
def test_a_network_that_cannot_be_followed_is_left_as_it_is(last, reason):
    network = nn.Sequential(conv(3, 4), nn.ReLU(), conv(4, 4), last)
    kill(network[0], 0)
    done = compact(network, torch.randn(IMAGES))
    assert reason in done.kept[""]
    assert (list(done.kept), done.removed) == ([""], {})
    assert not done.module.training
    assert torch.equal(torch.as_tensor(num_weights(done.module)), torch.as_tensor(num_weights(network)))
