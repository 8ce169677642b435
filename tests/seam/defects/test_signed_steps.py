"""Attacked images: within the budget, whole grey levels, and the loss is higher."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from seam.defects.signed_steps import attacked
from seam.networks.source import Preprocess

GREY = Preprocess((0.5,) * 3, (0.25,) * 3)


def test_against_a_linear_network_it_is_the_corner_of_the_budget() -> None:
    """There the gradient's sign is the same everywhere: the answer is known."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2)).eval()
    images = torch.randint(20, 230, (10, 4, 4, 3), dtype=torch.uint8)
    labels = torch.arange(10) % 2
    found = attacked(network, images, labels, GREY, 8 / 255, 7, batch_size=4)
    difference = (network[1].weight[1] - network[1].weight[0]).sign() * (1 - 2 * labels)[:, None]
    wanted = images.int() + 8 * difference.view(10, 3, 4, 4).permute(0, 2, 3, 1).int()
    assert found.dtype == torch.uint8
    assert torch.equal(found.int(), wanted)


def test_within_the_range_of_pixels_and_harder() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)).eval()
    images = torch.randint(0, 256, (12, 8, 8, 3), dtype=torch.uint8)
    labels = torch.arange(12) % 3
    found = attacked(network, images, labels, GREY, 4 / 255, 5)
    assert int((found.int() - images.int()).abs().max()) == 4
    with torch.no_grad():
        before, after = (F.cross_entropy(network(GREY(x)), labels) for x in (images, found))
    assert float(after) > float(before) + 0.1
