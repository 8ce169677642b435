"""A network that keeps what it computed for its next call can be copied after it was recorded."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from seam.networks.kept_tensors import forget_gradients
from seam.networks.products import record


class Biased(nn.Module):
    """It picks its bias once, and keeps it by device, as attention with relative positions does."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.arange(4.0))
        self.linear = nn.Linear(4, 4)
        self.cache: dict[str, list[Tensor]] = {}
        self.order = torch.tensor([3, 2, 1, 0])

    def forward(self, x: Tensor) -> Tensor:
        if not self.cache:
            self.cache["cpu"] = [self.table[self.order]]
        return self.linear(x) + self.cache["cpu"][0]


def test_what_is_kept_is_the_same_without_its_gradient() -> None:
    network = Biased().eval()
    order, table = network.order, network.table
    before = record(network, torch.ones(1, 4)).output
    copied = copy.deepcopy(network)
    assert torch.equal(copied.cache["cpu"][0], torch.tensor([3.0, 2, 1, 0]))
    assert torch.equal(copied(torch.ones(1, 4)), before)
    assert network.order is order
    assert network.table is table
    assert table.requires_grad


def test_tensors_that_were_not_computed_are_left_alone() -> None:
    network = Biased()
    network.cache["cpu"] = kept = [torch.zeros(4)]
    forget_gradients(network)
    assert network.cache["cpu"] is kept
