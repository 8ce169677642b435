"""Channels of grouped convolutions that go together: whole groups, or as many of each."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seam.compaction import compact
from seam.inference.export import export_onnx
from seam.masks.channels import ScoredChannels
from seam.masks.groups import channel_groups
from seam.masks.masks import apply_masks
from seam.masks.scores import density_of, masks_of
from seam.masks.together import _zero_sums
from tests.seam.architectures import ShuffleUnit
from tests.seam.compaction.small import Small, conv, num_weights

IMAGES = (2, 3, 8, 8)


def _sets(ids):
    """Channels by group, and those that stay."""
    return {frozenset(np.flatnonzero(ids == g).tolist()) for g in ids.unique() if g >= 0}


def test_groups_that_can_go_one_by_one_go_whole():
    layers = {"a": conv(3, 8), "grouped": conv(8, 4, groups=4), "b": conv(4, 2, 4)}
    network = Small(lambda m, x: m.b(F.relu(m.grouped(F.relu(m.a(x))))).flatten(1), **layers)
    groups = channel_groups(network, torch.zeros(IMAGES))
    assert _sets(groups.outputs["a"]) == {frozenset({2 * g, 2 * g + 1}) for g in range(4)}
    assert torch.equal(groups.outputs["a"][::2], groups.outputs["grouped"])


def test_where_they_cannot_as_many_of_each_go():
    """The image decides which groups of the first there are; a softmax reads all that the second makes."""
    layers = {"a": conv(3, 6, groups=3), "b": conv(6, 4, 1), "c": conv(4, 8, 1, groups=2)}
    network = Small(lambda m, x: m.c(F.relu(m.b(F.relu(m.a(x))))).softmax(1).flatten(1), **layers)
    groups = channel_groups(network, torch.zeros(IMAGES))
    assert _sets(groups.outputs["b"]) == {frozenset({0, 2}), frozenset({1, 3})}
    assert (groups.outputs["c"] < 0).all()


def test_a_shuffle_between_grouped_convolutions_of_other_sizes():
    """Two groups of three, read as [0, 3, 1 | 4, 2, 5]: each pair has one channel in each group of both."""
    network = Small(
        lambda m, x: m.fc(m.unit(F.relu(m.stem(x))).mean((2, 3))),
        stem=conv(3, 4),
        unit=ShuffleUnit(4, 4, 6, 2),
        fc=nn.Linear(4, 2),
    )
    groups = channel_groups(network, torch.zeros(IMAGES))
    inner = _sets(groups.outputs["unit.squeeze"])
    assert len(inner) == 3
    for channels in inner:
        assert sorted(c // 3 for c in channels) == [0, 1]
        assert sorted([0, 3, 1, 4, 2, 5].index(c) // 3 for c in channels) == [0, 1]
    assert _sets(groups.outputs["stem"]) == {frozenset({0, 2}), frozenset({1, 3})}
    assert groups.number == 5


def _shuffle_net(groups):
    units = [ShuffleUnit(4 * groups, 8 * groups, 5 * groups, groups), ShuffleUnit(8 * groups, 8 * groups, 24, groups)]
    layers = {"stem": conv(3, 4 * groups), "units": nn.Sequential(*units), "fc": nn.Linear(8 * groups, 3)}
    return Small(lambda m, x: m.fc(m.units(F.relu(m.stem(x))).mean((2, 3))), **layers).eval()


@pytest.mark.parametrize("groups", [2, 3, 4])
def test_a_shuffle_net_loses_half_its_channels_exactly(groups, tmp_path):
    torch.manual_seed(0)
    network = _shuffle_net(groups)
    found = channel_groups(network, torch.zeros(IMAGES))
    assert all((ids >= 0).all() for name, ids in found.outputs.items() if name != "fc")
    assert found.number == 4 + 5 + 24 // groups  # one of each group: the stream, and inside the two units
    scored = ScoredChannels(network, found)
    with torch.no_grad():
        scored.scores.copy_(torch.rand(found.number))
    scored.keep(0.4)
    apply_masks(network, masks_of(scored))
    done = compact(network, torch.randn(IMAGES))
    assert num_weights(done.module) == round(density_of(scored) * num_weights(network))
    images = torch.randn(3, *IMAGES[1:])
    torch.testing.assert_close(done.module(images), network(images), rtol=1e-5, atol=1e-5)
    assert export_onnx(done.module, torch.randn(1, *IMAGES[1:]), tmp_path / "m.onnx") <= 1e-3


def test_smallest_sets_that_add_up_to_zero():
    vectors = np.array([[1, -1], [2, 0], [-1, 1], [-1, -1], [-1, 1], [1, -1], [3, 3]])
    assert [set(found) for found in _zero_sums(vectors)] == [{0, 2}, {4, 5}, {1, 3, 6}]
    assert [set(found) for found in _zero_sums(np.array([[1], [-2], [1], [5]]))] == [{0, 1, 2}, {3}]
