"""What widths cost, against the masks that they make."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seam.masks.channels import ScoredChannels
from seam.masks.groups import channel_groups
from seam.masks.layout_costs import macs_costs
from seam.masks.widths import best_groups, units_of
from seam.measures.macs import weight_macs
from seam.networks.build import build
from tests.seam.masks.block import IMAGES, seeded_block


def _agree(network: nn.Module, images: torch.Tensor, block: int) -> None:
    groups = channel_groups(network, images)
    units = units_of(groups, block)
    macs = weight_macs(network, images[:1])
    costs = macs_costs(network, groups, units, macs)
    scored = ScoredChannels(network, groups)
    each = scored.effective.spread(macs).double()
    assert costs.whole == pytest.approx(float(each.sum()), rel=1e-12)
    draw = torch.Generator().manual_seed(0)
    for _ in range(5):
        layout = {u.name: u.widths[int(torch.randint(len(u.widths), (), generator=draw))] for u in units}
        scored.keep_groups(best_groups(units, layout, torch.rand(groups.number, generator=draw)))
        assert costs.of(layout) == pytest.approx(float(each[scored.mask()].sum()), rel=1e-12)
    assert all((c >= 0).all() for c in (*costs.alone.values(), *costs.pairs.values()))


@pytest.mark.parametrize("architecture", ["resnet20_a", "resnet20", "vgg16_bn_cifar", "torchvision:squeezenet1_1"])
def test_multiply_adds_are_those_of_the_mask(architecture: str) -> None:
    torch.manual_seed(0)
    _agree(
        build(architecture, 10).eval(), torch.rand(2, 3, 64, 64) if ":" in architecture else torch.rand(2, 3, 32, 32), 8
    )


@pytest.mark.parametrize("block", [1, 2])
def test_multiply_adds_of_depthwise_and_grouped_layers_too(block: int) -> None:
    _agree(seeded_block(), IMAGES, block)
    grouped = [nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 3, groups=4), nn.ReLU(), nn.Conv2d(12, 5, 3)]
    _agree(nn.Sequential(*grouped, nn.Flatten(), nn.Linear(80, 2)).eval(), IMAGES, block)


def test_parts_of_the_cost_by_hand() -> None:
    """8 x 8 images: a stem of 4 that reads 3, 6 inside, a depthwise one, a classifier of 5 on 2 x 2."""
    network = seeded_block()
    groups = channel_groups(network, IMAGES)
    costs = macs_costs(network, groups, units_of(groups, 2), weight_macs(network, IMAGES[:1]))
    assert costs.fixed == 0
    assert costs.alone["stem"].tolist() == [w * (64 * 27 + 64 * 9 + 20) for w in (2, 4)]
    assert costs.alone["inner"].tolist() == [0, 0, 0, 0]
    assert costs.pairs["stem", "inner"].tolist() == [[64 * 9 * s * i for i in (0, 2, 4, 6)] for s in (2, 4)]
    assert costs.pairs["inner", "stem"].tolist() == [[64 * i * s for s in (2, 4)] for i in (0, 2, 4, 6)]
