"""Grouped convolutions: whole groups go, and of the others as many channels each; counted by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seam.compaction.channels import even_out
from seam.inference.export import export_onnx
from tests.seam.architectures import ShuffleUnit
from tests.seam.compaction.small import IMAGES, Small, compacted, conv, ignore, kill


def _grouped():
    layers = {"a": conv(3, 8), "grouped": conv(8, 12, groups=4), "b": conv(12, 2, 4)}
    return Small(lambda m, x: m.b(F.relu(m.grouped(F.relu(m.a(x))))).flatten(1), **layers)


def test_a_group_of_which_nothing_is_read_goes_with_what_it_reads():
    network = _grouped()
    ignore(network.b, 3, 4, 5)  # the second group
    done = compacted(network)
    assert done.removed == {"a": 2, "grouped": 3}
    assert done.module.grouped.groups == 3
    assert torch.equal(done.module.grouped.weight, network.grouped.weight[[0, 1, 2, 6, 7, 8, 9, 10, 11]])


@pytest.mark.parametrize(
    ("ignored", "removed", "left"),
    [
        ((0, 4, 8, 11), 4, [1, 2, 3, 5, 6, 7, 9, 10]),  # one of each, whichever
        ((0, 4, 8), 0, list(range(12))),  # one group has all of them in use
        ((0, 1, 4, 5, 7, 8, 10, 11), 8, [2, 3, 6, 9]),
        ((0, 1, 4, 8, 11), 4, [0, 2, 3, 5, 6, 7, 9, 10]),  # the first that nothing reads stays with the second
        ((0, 3, 4, 5, 8, 11), 6, [1, 2, 6, 7, 9, 10]),  # the second group goes
    ],
)
def test_of_each_group_that_is_left_as_many_outputs_go(ignored, removed, left, tmp_path):
    network = _grouped()
    ignore(network.b, *ignored)
    done = compacted(network)
    assert done.removed.get("grouped", 0) == removed
    assert torch.equal(done.module.grouped.bias, network.grouped.bias[left])
    assert export_onnx(done.module, torch.randn(1, 3, 8, 8), tmp_path / "m.onnx") <= 1e-4


def test_of_each_group_as_many_inputs_go():
    network = _grouped()
    for channel in (0, 3, 4, 7):  # one of the two of each group
        kill(network.a, channel)
    done = compacted(network)
    assert done.removed == {"a": 4}
    assert (done.module.grouped.groups, done.module.grouped.weight.shape) == (4, (12, 1, 3, 3))
    network = _grouped()
    kill(network.a, 0, 3, 4)
    assert compacted(network).removed == {}


def test_a_group_whose_inputs_others_read_keeps_an_output():
    def forward(m, x):
        x = F.relu(m.a(x))
        return m.b(torch.cat([m.grouped(x), x], 1)).flatten(1)

    network = Small(forward, a=conv(3, 4), grouped=conv(4, 4, 1, groups=2), b=conv(8, 2))
    ignore(network.b, 1, 2, 3)
    assert compacted(network).removed == {"grouped": 2}
    ignore(network.b, 6, 7)
    assert compacted(network).removed == {"a": 2, "grouped": 3}


def test_what_is_added_until_groups_are_even():
    read, made = torch.tensor([1, 0, 0, 0, 0, 1]).bool(), torch.tensor([0, 0, 0, 0, 0, 0, 0, 1, 1]).bool()
    even_out(read, made, 3)
    assert read.int().tolist() == [1, 0, 0, 0, 0, 1]
    assert made.int().tolist() == [1, 1, 0, 0, 0, 0, 0, 1, 1]


def test_shuffled_channels_of_grouped_convolutions_go(tmp_path):
    """Two groups of three, read by the next layer as [0, 3, 1 | 4, 2, 5]: of 0 and 5 one is in each group of both."""
    network = Small(
        lambda m, x: m.fc(m.unit(F.relu(m.stem(x))).mean((2, 3))),
        stem=conv(3, 4),
        unit=ShuffleUnit(4, 4, 6, 2),
        fc=nn.Linear(4, 2),
    )
    for channel, shuffled in ((0, 0), (5, 5)):
        kill(network.unit.squeeze, channel)
        kill(network.unit.depthwise, shuffled)
    done = compacted(network)
    assert done.removed == {"unit.squeeze": 2, "unit.depthwise": 2}
    layers = [done.module.get_submodule(f"unit.{name}") for name in ("squeeze", "depthwise", "expand")]
    assert [layer.groups for layer in layers] == [2, 4, 2]
    weight = network.unit.expand.weight
    assert torch.equal(layers[2].weight, torch.cat([weight[:2, [1, 2]], weight[2:, [0, 1]]]))
    assert export_onnx(done.module, torch.randn(IMAGES)[:1], tmp_path / "m.onnx") <= 1e-4
