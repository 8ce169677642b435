"""What follows from sizes alone is a constant of the graph, also where it is written into piece by piece."""

import torch
from torch import nn
from torch.nn import functional as F

from seam.compaction import compact
from seam.compaction.trace import trace
from seam.masks.groups import channel_groups
from tests.seam.compaction.small import IMAGES, Small, compacted, conv, ignore


def _mask(x):
    """Written region by region, as the mask of shifted windows is."""
    mask = x.new_zeros((x.shape[2], x.shape[3]))
    for number, (rows, columns) in enumerate([(slice(0, -2), slice(0, 3)), (slice(-2, None), slice(3, None))]):
        mask[rows, columns] = number + 1
    mask = mask.view(1, 1, *mask.shape)
    return mask.masked_fill(mask != 0, -100.0).masked_fill(mask == 0, 0.5)


def _masked():
    network = Small(lambda m, x: m.fc(F.relu(m.b(x + _mask(x))).mean((2, 3))), b=conv(3, 4), fc=nn.Linear(4, 2))
    ignore(network.fc, 1)
    return network


def test_a_mask_that_is_written_into_is_one_constant():
    network = _masked()
    traced = trace(network, torch.randn(IMAGES))
    assert [traced.kind(node) for node in traced.nodes if node.op == "call_function"] == ["add", "relu"]
    assert traced.module.state_dict().keys() == network.state_dict().keys()
    images = torch.randn(5, *IMAGES[1:])
    assert torch.equal(traced.module(images), network(images))
    assert compacted(network).removed == {"b": 1}


def test_what_trains_or_has_one_entry_an_image_stays_computed():
    table = Small(lambda m, x: m.fc(x.mean((2, 3)) + m.table[m.index].view(-1)), fc=nn.Linear(3, 3))
    table.table, table.index = nn.Parameter(torch.randn(5)), torch.tensor([0, 4, 2])
    traced = trace(table, torch.randn(IMAGES))
    assert any(node.target == "table" for node in traced.nodes)
    ones = Small(lambda m, x: m.fc(x.mean((2, 3)) + x.new_ones((x.shape[0], 1))), fc=nn.Linear(3, 3))
    images = torch.randn(5, *IMAGES[1:])
    assert torch.equal(trace(ones, torch.randn(IMAGES)).module(images), ones(images))


def test_images_written_into_zeros_are_not_followed():
    def forward(m, x):
        y = x.new_zeros(x.shape)
        y[:, 1] = x[:, 0]
        return m.fc(F.relu(m.b(y)).mean((2, 3)))

    network = Small(forward, b=conv(3, 4), fc=nn.Linear(4, 2))
    ignore(network.fc, 1)
    assert "in place" in compact(network, torch.randn(IMAGES)).kept[""]


def test_a_number_that_follows_from_sizes_is_a_factor():
    network = Small(lambda m, x: m.b((y := m.a(x)) * y.shape[-1] ** -0.5).flatten(1), a=conv(3, 4), b=conv(4, 2))
    assert channel_groups(network, torch.zeros(IMAGES)).number == 4
