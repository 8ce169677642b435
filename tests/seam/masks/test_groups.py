"""Groups of channels that stay or go together."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from seam.errors import SearchError
from seam.masks.groups import channel_groups
from seam.networks.build import build
from tests.seam.masks.block import IMAGES, seeded_block


def test_what_is_added_goes_together_and_the_classes_stay() -> None:
    network = seeded_block()
    groups = channel_groups(network, IMAGES)
    assert groups.number == 10
    stream, inner = groups.outputs["stem"], groups.outputs["inner"]
    assert len({*stream.tolist(), *inner.tolist()}) == 10
    for same in (
        groups.outputs["outer"],
        groups.inputs["inner"],
        groups.inputs["depthwise"],
        groups.outputs["depthwise"],
    ):
        assert torch.equal(same, stream)
    assert torch.equal(groups.inputs["outer"], inner)
    assert torch.equal(groups.inputs["fc"], stream.repeat_interleave(4))  # four pixels each
    assert groups.inputs["stem"].tolist() == [-1] * 3
    assert groups.outputs["fc"].tolist() == [-1] * 5


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("resnet20_a", {f"layer{i}.{j}.conv1" for i in (1, 2, 3) for j in (0, 1, 2)}),
        ("vgg16_bn_cifar", set()),
        (
            "torchvision:mobilenet_v2",
            {f"features.{i}.conv.{j}.0" for i in (3, 5, 6, 8, 9, 10, 12, 13, 15, 16) for j in (0, 1)},
        ),
        ("torchvision:squeezenet1_1", {f"features.{i}.expand1x1" for i in (3, 4, 6, 7, 9, 10, 11, 12)}),
    ],
)
def test_what_may_go_altogether(architecture: str, expected: set[str]) -> None:
    """Of a product both factors are needed (gates), of a sum or concatenation one part.

    Never so many that nothing is left.
    """
    network = build(architecture, 10).eval()
    assert channel_groups(network, torch.rand(2, 3, 32, 32)).dispensable == expected


def test_a_network_whose_channels_cannot_be_followed_is_named() -> None:
    class Loop(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(SearchError, match="the channels of Loop cannot be followed"):
        channel_groups(Loop(), IMAGES)
    with pytest.raises(
        SearchError, match="none of the channels of Sequential can be removed; search over single weights"
    ):
        channel_groups(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), IMAGES)
