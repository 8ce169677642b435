"""Layers that are called several times, that share a weight, and those of classes derived from torch's."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seam.compaction.trace import trace, trains_alike
from seam.masks.groups import channel_groups
from tests.seam.compaction.small import IMAGES, Small, compacted, conv, ignore, kill, settled


def _thrice():
    def forward(m, x):
        x = F.relu(m.stem(x))
        for _ in range(3):
            x = F.relu(m.norm(m.same(x)))
        return m.fc(x.mean((2, 3)))

    layers = {"stem": conv(3, 6), "same": conv(6, 6, padding=1), "norm": nn.BatchNorm2d(6), "fc": nn.Linear(6, 2)}
    return settled(Small(forward, **layers), torch.randn(8, *IMAGES[1:]))


def _one_weight():
    def forward(m, x):
        return m.fc(F.relu(m.b(F.relu(m.a(F.relu(m.stem(x)))))).mean((2, 3)))

    layers = {"stem": conv(3, 6), "a": conv(6, 6), "b": conv(6, 6, bias=False), "fc": nn.Linear(6, 2)}
    network = Small(forward, **layers)
    network.b.weight = network.a.weight
    return network


def test_what_a_layer_makes_and_reads_in_all_its_calls_is_one_group():
    network = _thrice()
    groups = channel_groups(network, torch.zeros(IMAGES))
    assert groups.number == 6
    assert groups.outputs["stem"].tolist() == groups.outputs["same"].tolist() == groups.inputs["same"].tolist()
    kill(network.stem, 1, 4)
    kill(network.same, 1, 4)
    with torch.no_grad():
        network.norm.bias[[1, 4]] = -100.0
    ignore(network.same, 1)
    ignore(network.fc, 1)
    done = compacted(network)
    assert done.removed == {"stem": 1, "same": 1}  # padded, so that a constant channel 4 would not stay one
    assert (done.module.same.weight.shape, done.module.norm.num_features) == ((5, 5, 3, 3), 5)


def test_one_weight_of_two_layers_stays_one():
    network = _one_weight()
    groups = channel_groups(network, torch.zeros(IMAGES))
    assert groups.number == 6
    assert groups.outputs["a"].tolist() == groups.outputs["b"].tolist() == groups.inputs["a"].tolist()
    for layer in (network.stem, network.a):
        kill(layer, 2)
    for layer in (network.a, network.fc):
        ignore(layer, 2)
    done = compacted(network)
    assert done.removed == {"stem": 1, "a": 1, "b": 1}
    assert done.module.a.weight is done.module.b.weight


def test_a_layer_called_with_the_images_as_well_keeps_what_it_reads():
    network = Small(lambda m, x: m.fc(m.same(m.same(x)).mean((2, 3))), same=conv(3, 3), fc=nn.Linear(3, 2))
    kill(network.same, 0)
    ignore(network.same, 0)
    assert compacted(network).removed == {}


class NormAndRelu(nn.BatchNorm2d):
    """As in many published networks: a norm that calls the function itself, and more."""

    def __init__(self, channels):
        super().__init__(channels)
        self.act = nn.ReLU()

    def forward(self, x):
        statistics = (self.running_mean, self.running_var)
        x = F.batch_norm(x, *statistics, self.weight, self.bias, self.training, self.momentum, self.eps)
        return self.act(x)


class SameConv(nn.Conv2d):
    """Sees the size of its input, and pads it."""

    def forward(self, x):
        pad = max((x.shape[-1] - 1) // self.stride[0] * self.stride[0] + self.kernel_size[0] - x.shape[-1], 0)
        return F.conv2d(F.pad(x, (0, pad, 0, pad)), self.weight, self.bias, self.stride)


class Renamed(nn.Linear):
    """Nothing but another name."""


class Standardised(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True), self.bias)


def _derived(last=Renamed):
    network = nn.Sequential(SameConv(3, 6, 3), NormAndRelu(6), SameConv(6, 4, 3), nn.Flatten(), last(256, 2))
    return settled(network, torch.randn(8, *IMAGES[1:]))


def test_classes_derived_from_layers_are_followed():
    network = _derived()
    assert channel_groups(network, torch.zeros(IMAGES)).number == 10
    kill(network[0], 2)
    with torch.no_grad():
        network[1].running_mean[2], network[1].bias[2] = 0, -1
    done = compacted(network)
    assert done.removed == {"0": 1}
    assert done.module.get_submodule("0").weight.shape == (5, 3, 3, 3)


def test_derived_classes_train_as_their_graph_does():
    network = _derived()
    assert trains_alike(network, torch.randn(IMAGES))
    graph = trace(copy.deepcopy(network), torch.randn(IMAGES)).module
    assert graph.state_dict().keys() == network.state_dict().keys()
    images = torch.randn(8, *IMAGES[1:])
    torch.testing.assert_close(graph.train()(images), network.train()(images))
    assert torch.equal(graph.get_buffer("1.running_mean"), network[1].running_mean)


def test_a_layer_that_changes_its_weight_first_is_none_that_is_known():
    network = nn.Sequential(conv(3, 4), Standardised(4, 4, 3), conv(4, 2), nn.Flatten(), nn.Linear(8, 2))
    groups = channel_groups(network, torch.zeros(IMAGES))
    assert (groups.outputs["0"] < 0).all()
    assert "1" not in groups.outputs
    kill(network[1], 0)
    assert compacted(network).removed == {}


@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: m.b(torch.cat(list(m.a(x).chunk(2, 1)), 1)),
        lambda m, x: m.b(torch.cat([*m.a(x)[None]])),
        lambda m, x: m.b(y if isinstance(y := m.a(x), torch.Tensor) else -y),
        lambda m, x: m.b(y if (y := m.a(x)).shape[-1] == 6 and not hasattr(y, "logits") else -y),
        lambda m, x: m.b(m.a(x) * torch.full((int(x.size(1) * 2), 1, 1), 2.0).repeat(2, 1, 1)[:4]),
    ],
)
def test_what_follows_from_sizes_is_known(forward):
    network = Small(
        lambda m, x: m.fc(F.relu(forward(m, x)).mean((2, 3))), a=conv(3, 4), b=conv(4, 4), fc=nn.Linear(4, 2)
    )
    before = set(vars(network))
    ignore(network.fc, 1)
    assert compacted(network).removed["b"] == 1
    channel_groups(network, torch.zeros(IMAGES))
    assert set(vars(network)) == before
