"""A network that is run with other tensors in the place of its own."""

from __future__ import annotations

import torch
from torch import nn

from seam.networks.with_tensors import running_with


def _network(shared: bool) -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)).requires_grad_(False)
    if shared:
        network[2].weight = network[0].weight
    return network


def test_given_tensors_take_the_place_of_a_networks_own_for_one_run() -> None:
    for shared in (False, True):
        network, images, weight = _network(shared), torch.randn(3, 4), torch.randn(4, 4)
        own = network(images)
        hidden = (images @ weight.T + network[0].bias).relu()
        expected = hidden @ (weight if shared else network[2].weight).T + network[2].bias
        torch.testing.assert_close(running_with(network)({"0.weight": weight}, images), expected)
        assert torch.equal(network(images), own)
