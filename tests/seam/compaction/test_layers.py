"""Layers other than a plain convolution: by groups, flattened, pooled, over vectors, weights in the activation."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.seam.compaction.small import IMAGES, Small, compacted, conv, ignore, kill, settled


def _depthwise(bias, **options):
    network = Small(
        lambda m, x: m.c(m.d(F.relu(m.a(x)))).flatten(1),
        a=conv(3, 6),
        d=conv(6, 12, groups=6, **options),
        c=conv(12, 2),
    )
    kill(network.a, 0, bias=bias)
    kill(network.d, 2, 3, 4)
    return network


def test_depthwise_channels_go_together():
    done = compacted(_depthwise(1.0))
    assert done.removed == {"a": 2, "d": 4}
    assert (done.module.d.groups, done.module.d.in_channels, done.module.d.out_channels) == (4, 4, 8)
    assert set(done.kept) == {"d"}  # channel 4 shares its input with channel 5
    assert compacted(_depthwise(-1.0, padding=1)).removed == {"a": 2, "d": 4}


def test_constants_other_than_zero_stay_before_a_padded_depthwise_layer():
    done = compacted(_depthwise(1.0, padding=1))
    assert done.removed == {"a": 1, "d": 2}
    assert "padded" in done.kept["a"]


def test_grouped_channels_go_by_whole_groups():
    network = Small(lambda m, x: m.c(m.d(m.a(x))).flatten(1), a=conv(3, 8), d=conv(8, 12, groups=4), c=conv(12, 2))
    kill(network.a, 0, 1, 2)
    kill(network.d, 9, 10, bias=1.0)
    done = compacted(network)
    assert done.removed == {"a": 2, "d": 3}  # the first of four groups
    assert done.module.d.groups == 3
    assert set(done.kept) == {"a", "d"}


@pytest.mark.parametrize(
    "flatten",
    [lambda x: x.view(x.size(0), -1), lambda x: x.reshape(x.shape[0], 24), lambda x: torch.flatten(x, 1), nn.Flatten()],
)
def test_flattened_channels_are_all_their_pixels(flatten):
    network = Small(
        lambda m, x: m.fc(m.flatten(F.relu(F.max_pool2d(m.a(x), 3)))),
        a=conv(3, 6),
        fc=nn.Linear(24, 5),
        flatten=flatten,
    )
    kill(network.a, 0, bias=1.0)
    ignore(network.fc, *range(4, 8), *range(8, 11))  # all pixels of channel 1, three of channel 2
    done = compacted(network)
    assert done.removed == {"a": 2}
    assert done.module.fc.in_features == 16


@pytest.mark.parametrize(
    ("pool", "goes"),
    [(nn.AvgPool2d(3, padding=1), False), (nn.AvgPool2d(3, ceil_mode=True), True), (nn.MaxPool2d(3, padding=1), True)],
)
def test_pools_keep_constants_unless_zeros_enter_the_average(pool, goes):
    network = Small(lambda m, x: m.b(m.pool(m.a(x))).flatten(1), a=conv(3, 4), b=conv(4, 2, 2), pool=pool)
    kill(network.a, 0, bias=-1.0)
    assert compacted(network).removed == ({"a": 1} if goes else {})


def test_vectors_and_activations_with_weights():
    network = Small(
        lambda m, x: m.fc(m.bn(m.act(m.b(m.a(x.flatten(2))))).mean(2)),
        **{
            "a": nn.Conv1d(3, 6, 3),
            "b": nn.Conv1d(6, 6, 3),
            "act": nn.PReLU(6),
            "bn": nn.BatchNorm1d(6),
            "fc": nn.Linear(6, 2),
        },
    )
    network = settled(network, torch.randn(8, *IMAGES[1:]))
    kill(network.b, 0, 5, bias=-1.0)
    ignore(network.b, 3)
    done = compacted(network)
    assert done.removed == {"a": 1, "b": 2}
    assert (done.module.bn.num_features, done.module.act.num_parameters) == (4, 4)


def test_neurons_between_linear_layers():
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 7), nn.GELU(), nn.Dropout(), nn.Linear(7, 3))
    kill(network[1], 0, 1, bias=1.0)
    ignore(network[4], 6)
    assert compacted(network).removed == {"1": 3}


def test_groups_of_the_input_stay():
    network = Small(lambda m, x: m.b(m.d(x)).flatten(1), d=conv(3, 6, groups=3), b=conv(6, 2))
    ignore(network.b, 0, 1)
    assert compacted(network).removed == {}
