"""Blocks are found by what they do, and a network without some of them is the rest of it, exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from seam.compaction.blocks import find_blocks, without_blocks
from seam.inference.export import export_onnx
from seam.networks.build import build
from tests.seam.blocks import Branches, Chain, Residual, Shared, Tokens, drawn

IMAGES = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
RESNET = [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in range(3)]


def vit() -> nn.Module:
    sizes = {"image_size": 16, "patch_size": 4, "num_layers": 3, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}
    return torchvision.models.VisionTransformer(**sizes, num_classes=4)


@pytest.mark.parametrize(
    ("make", "blocks", "fixed", "head"),
    [
        (Chain, ["stem", "gate", "first", "wider", "rest.0", "rest.1"], {"stem", "gate", "wider"}, "fc"),
        (Tokens, ["blocks.0", "blocks.1", "blocks.2"], set(), "head"),
        (vit, [f"encoder.layers.encoder_layer_{i}" for i in range(3)], set(), "heads.head"),
        (lambda: build("resnet20", 4), RESNET, {"layer2.0", "layer3.0"}, "fc"),
        (lambda: build("resnet20_a", 4), RESNET, {"layer2.0", "layer3.0"}, "fc"),
    ],
    ids=["own", "own transformer", "vit", "resnet20", "resnet20_a"],
)
def test_blocks_of(make: Callable[[], nn.Module], blocks: list[str], fixed: set[str], head: str) -> None:
    network = drawn(make())
    before = {k: v.clone() for k, v in network.state_dict().items()}
    found = find_blocks(network, IMAGES)
    assert [block.name for block in found.blocks] == blocks
    assert set(found.removable) == set(blocks) - fixed
    assert found.head == head
    assert all(b.weights == sum(p.numel() for p in network.get_submodule(b.name).parameters()) for b in found.blocks)
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("resnet50", 12),
        ("convnext_tiny", 18),
        ("swin_t", 12),
        ("mobilenet_v2", 10),
        ("efficientnet_b0", 9),
        ("regnet_y_400mf", 12),
        ("mnasnet0_5", 10),
    ],
)
def test_residual_blocks_of_torchvision(name: str, count: int) -> None:
    """As many as have a shortcut around them, by torchvision's own code."""
    torch.manual_seed(0)
    network = torchvision.models.get_model(name, num_classes=4).eval()
    found = find_blocks(network, torch.randn(2, 3, 64, 64))
    assert len(found.removable) == count
    small = without_blocks(network, found.removable)
    assert small(torch.randn(3, 3, 64, 64)).shape == (3, 4)


@pytest.mark.parametrize(
    "network",
    [
        Branches(),
        Shared(),
        build("vgg16_bn_cifar", 4),
        nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4)),
    ],
    ids=["another way", "called twice", "plain", "one layer"],
)
def test_what_is_no_chain_of_residual_blocks_has_none(network: nn.Module) -> None:
    images = torch.randn(2, 3, 32, 32)
    network.eval()(images)  # lazy layers are made
    assert find_blocks(network, images).blocks == ()


def test_without_blocks_the_others_compute_the_same(tmp_path: Path) -> None:
    network = drawn(Chain())
    small = without_blocks(network, ["first", "rest.0"])
    parts = dict(network.named_children())
    with torch.no_grad():
        x = parts["gate"](parts["stem"](IMAGES))
        wanted = parts["fc"](parts["pool"](parts["rest"][1](parts["wider"](x))))
        assert torch.equal(small(IMAGES), wanted)
        assert not torch.equal(network(IMAGES), wanted)
    gone = ("first.", "rest.0.")
    assert set(small.state_dict()) == {k for k in network.state_dict() if not k.startswith(gone)}
    assert export_onnx(small, IMAGES, tmp_path / "small.onnx") < 1e-5
    assert isinstance(network.first, Residual)


def test_a_block_that_changes_its_input_in_place_is_compared_with_what_it_was_given() -> None:
    class PreActivation(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(8, 8, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.conv(F.relu(x, inplace=True))

    network = nn.Sequential(
        nn.Conv2d(3, 8, 1), PreActivation(), PreActivation(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    )
    assert find_blocks(network.eval(), IMAGES).removable == ("1", "2")
