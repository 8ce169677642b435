"""Networks beside each other: what they compute alike is computed once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seam.compaction import compact
from seam.composition.heads import ReadOut
from seam.composition.merged import Stacked, side_by_side
from seam.composition.module import Piece, Takes, extract
from seam.masks.groups import channel_groups
from seam.masks.kernels import kernel_masks
from seam.measures.macs import count
from tests.seam.composition.networks import IMAGES, KINDS, OUTPUTS, seeded
from tests.seam.composition.test_module import part


def convolutions(network: nn.Module) -> int:
    return sum(isinstance(m, nn.Conv2d) for m in network.modules())


def with_one_layer_thinner(network: nn.Module, layer: str) -> nn.Module:
    groups = channel_groups(network, IMAGES)
    kept = torch.ones(groups.number, dtype=torch.bool)
    kept[groups.outputs[layer][:3]] = False
    piece = Piece(kernel_masks(groups, kept), ReadOut(OUTPUTS, 1))
    return extract(network, piece, groups, Takes((3, 16, 16), None, None), "1").network


@pytest.mark.parametrize("kind", KINDS)
def test_it_gives_what_each_gives(kind: str) -> None:
    networks = [part(seeded(kind), i, ReadOut(OUTPUTS, i), seed=i).network for i in range(3)]
    networks.append(part(seeded("residual", 7), 0, ReadOut(OUTPUTS, 0)).network)
    merged = side_by_side(networks, IMAGES)
    expected = torch.cat([network(IMAGES) for network in networks], 1)
    assert torch.allclose(merged(IMAGES), expected, atol=1e-6)
    assert torch.allclose(merged(IMAGES[:1]), expected[:1], atol=1e-6)
    assert not isinstance(merged, Stacked)


@pytest.mark.parametrize(("layer", "own"), [("three", 2), ("join", 1), ("stem", 4)])
def test_layers_before_the_first_that_differs_are_there_once(layer: str, own: int) -> None:
    """stem, one, three, join: thinner `three` changes itself and `join`, thinner `join` what reads it."""
    network = seeded("concatenating")
    whole = compact(network, IMAGES).module
    thin = with_one_layer_thinner(network, layer)
    merged = side_by_side([whole, thin], IMAGES)
    assert convolutions(merged) == 4 + own
    assert torch.allclose(merged(IMAGES), torch.cat([whole(IMAGES), thin(IMAGES)], 1), atol=1e-6)
    macs = [count(m, IMAGES).macs_dense for m in (merged, whole, thin)]
    assert macs[0] < macs[1] + macs[2] if layer != "stem" else macs[0] == macs[1] + macs[2]


def test_the_same_network_twice_is_computed_once_and_other_weights_are_not() -> None:
    network, other = (compact(seeded("residual", seed), IMAGES).module for seed in (0, 1))
    assert convolutions(side_by_side([network, network], IMAGES)) == convolutions(network) == 4
    assert convolutions(side_by_side([network, other], IMAGES)) == 8
    nudged = compact(seeded("residual"), IMAGES).module
    with torch.no_grad():
        nudged.down.weight[0, 0, 0, 0] += 1e-3
    merged = side_by_side([network, nudged], IMAGES)
    assert convolutions(merged) == 5
    assert torch.allclose(merged(IMAGES)[:, OUTPUTS:], nudged(IMAGES), atol=1e-6)


def test_layers_that_differ_in_a_number_alone_are_two() -> None:
    class Slope(nn.Module):
        def __init__(self, slope: float) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.act, self.last = nn.Conv2d(3, 4, 3), nn.LeakyReLU(slope), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.last(self.act(self.conv(x)).mean((2, 3)))
            return logits

    one, other = (torch.fx.symbolic_trace(Slope(s).eval().requires_grad_(False)) for s in (0.1, 0.2))
    merged = side_by_side([one, other], IMAGES)
    assert convolutions(merged) == 1 and sum(isinstance(m, nn.LeakyReLU) for m in merged.modules()) == 2
    assert torch.allclose(merged(IMAGES), torch.cat([one(IMAGES), other(IMAGES)], 1), atol=1e-6)


def test_networks_that_are_no_graphs_stand_beside_each_other() -> None:
    class Deciding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = seeded("residual")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.inner(x if float(x.sum()) > 1e9 else x * 1.0)
            return logits

    network = Deciding().eval()
    merged = side_by_side([network, seeded("dense")], IMAGES)
    assert torch.allclose(merged(IMAGES), torch.cat([network(IMAGES), seeded("dense")(IMAGES)], 1), atol=1e-6)
