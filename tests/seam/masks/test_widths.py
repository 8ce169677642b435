"""Units of a network and their widths."""

from __future__ import annotations

import pytest
import torch

from seam.masks.channels import ScoredChannels
from seam.masks.groups import ChannelGroups, channel_groups
from seam.masks.scores import masks_of
from seam.masks.widths import best_groups, units_of, whole_layout
from seam.networks.build import build
from tests.seam.masks.block import IMAGES, seeded_block


def _widths(architecture: str, block: int) -> dict[str, tuple[int, ...]]:
    network = build(architecture, 10).eval()
    return {unit.name: unit.widths for unit in units_of(channel_groups(network, torch.rand(2, 3, 32, 32)), block)}


def test_units_of_a_residual_network_are_the_streams_and_the_insides_of_its_blocks() -> None:
    """Shortcuts of option A: a stage's channels are in all later ones too."""
    inside = {
        f"layer{stage}.{i}.conv1": (0, *range(16, 16 * 2 ** (stage - 1) + 1, 16))
        for stage in (1, 2, 3)
        for i in range(3)
    }
    streams = {"conv1": (16,), "layer2.0.conv2": (16,), "layer3.0.conv2": (16, 32)}
    assert _widths("resnet20_a", 16) == inside | streams


def test_units_of_a_plain_network_are_its_layers_and_many_widths_are_thinned() -> None:
    widths = _widths("vgg16_bn_cifar", 16)
    assert len(widths) == 13 + 2  # convolutions, and linear layers but the last
    first, third, tenth = (list(widths.values())[i] for i in (0, 2, 9))
    assert first == (16, 32, 48, 64)
    assert third == tuple(range(16, 129, 16))
    assert tenth == (16, 80, 160, 224, 304, 368, 448, 512)


def test_one_of_two_that_are_joined_end_to_end_is_dispensable() -> None:
    widths = _widths("torchvision:squeezenet1_1", 16)
    assert len(widths) == 1 + 3 * 8
    assert widths["features.0"] == (16, 32, 48, 64)
    assert widths["features.3.squeeze"] == (16,)
    assert widths["features.3.expand1x1"] == (0, 16, 32, 48, 64)
    assert widths["features.3.expand3x3"] == (16, 32, 48, 64)


def test_fewer_groups_than_a_block_stay_or_go_together() -> None:
    units = units_of(channel_groups(seeded_block(), IMAGES), 8)
    assert {unit.name: (unit.layers, unit.widths) for unit in units} == {
        "stem": (("stem", "outer", "depthwise"), (4,)),
        "inner": (("inner",), (0, 6)),
    }


def test_units_with_the_same_first_layer_have_different_names() -> None:
    """Groups 0 and 1: made by both layers; 2: by the first alone; 3 by none."""
    outputs = {"one": torch.tensor([0, 1, 2]), "two": torch.tensor([1, 0, -1])}
    units = units_of(ChannelGroups(4, outputs, {"one": torch.tensor([3]), "two": torch.tensor([0, 1, 2])}), 1)
    assert {unit.name: (unit.layers, unit.groups.tolist()) for unit in units} in (
        {"one": (("one", "two"), [0, 1]), "one/1": (("one",), [2])},
        {"one": (("one",), [2]), "one/1": (("one", "two"), [0, 1])},
    )
    kept = best_groups(units, {unit.name: 1 for unit in units}, torch.tensor([0.1, 0.2, 0.0, -1.0]))
    assert kept.tolist() == [False, True, True, True]  # what no layer makes stays


def test_the_groups_of_greatest_worth_are_kept_and_the_mask_is_theirs() -> None:
    network = seeded_block()
    groups = channel_groups(network, IMAGES)
    units = units_of(groups, 2)
    stream, inner = groups.outputs["stem"], groups.outputs["inner"]
    worth = torch.zeros(10)
    worth[stream], worth[inner] = torch.tensor([0.1, 0.9, 0.5, 0.2]), torch.tensor([3.0, 1.0, 2.0, 9.0, 8.0, 7.0])
    kept = best_groups(units, {"stem": 2, "inner": 4}, worth)
    assert kept[stream].tolist() == [False, True, True, False]
    assert kept[inner].tolist() == [True, False, False, True, True, True]
    assert best_groups(units, whole_layout(units), worth).all()
    scored = ScoredChannels(network, groups)
    scored.keep_groups(kept)
    masks = masks_of(scored)
    assert masks["stem.weight"].flatten(1).any(1).tolist() == kept[stream].tolist()
    assert torch.equal(masks["outer.weight"][:, :, 0, 0], kept[stream][:, None] & kept[inner][None])


@pytest.mark.parametrize("block", [1, 5])
def test_all_is_a_width_whatever_the_block(block: int) -> None:
    units = units_of(channel_groups(seeded_block(), IMAGES), block)
    assert [unit.widths[-1] for unit in units] == [4, 6]
