"""Where stages end, as one reads it off the architecture; and the values there, as hooks see them."""

from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.networks.cifar100_widestem import widestem
from seam.compaction.trace import trace
from seam.networks.build import build
from seam.training.taps import stage_ends, tapped
from tests.seam.architectures import SMALL_VIT

# The module that makes the value at each end of a stage, and the shape of its values; the call that counts is the last.
ENDS = {
    "resnet20": (32, {"layer1.2.relu": (16, 32, 32), "layer2.2.relu": (32, 16, 16), "layer3.2.relu": (64, 8, 8)}),
    "resnet20_a": (32, {"layer1.2.relu": (16, 32, 32), "layer2.2.relu": (32, 16, 16), "layer3.2.relu": (64, 8, 8)}),
    "vgg16_bn_cifar": (
        32,
        {
            "features.5": (64, 32, 32),
            "features.12": (128, 16, 16),
            "features.22": (256, 8, 8),
            "features.32": (512, 4, 4),
            "features.42": (512, 2, 2),
        },
    ),
    "torchvision:resnet18": (
        64,
        {
            "relu": (64, 32, 32),
            "layer1.1.relu": (64, 16, 16),
            "layer2.1.relu": (128, 8, 8),
            "layer3.1.relu": (256, 4, 4),
            "layer4.1.relu": (512, 2, 2),
        },
    ),
    # the last before the classifier, which is a convolution after a dropout
    "torchvision:squeezenet1_1": (
        64,
        {
            "features.1": (64, 31, 31),
            "features.4": (128, 15, 15),
            "features.7": (256, 7, 7),
            "features.12": (512, 3, 3),
        },
    ),
    # gates that pool (squeeze and excitation) end nothing; the first layer of a resolution reads the widened image
    "torchvision:mobilenet_v3_small": (
        64,
        {
            "features.0.2": (16, 32, 32),
            "features.2.block.0.2": (72, 16, 16),
            "features.4.block.0.2": (96, 8, 8),
            "features.9.block.0.2": (288, 4, 4),
            "features.12.2": (576, 2, 2),
        },
    ),
}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def seen_by_hooks(network, names, images):
    """The last output of each module in one pass."""
    seen = {}
    hooks = [
        network.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, value, name=name: seen.update({name: value.clone()})
        )
        for name in names
    ]
    with torch.no_grad():
        output = network(images)
    for hook in hooks:
        hook.remove()
    return output, [seen[name] for name in names]


@pytest.mark.parametrize("architecture", ENDS)
def test_the_ends_of_the_stages_and_their_values(architecture):
    side, ends = ENDS[architecture]
    network, images = build(architecture, 4).eval(), torch.randn(2, 3, side, side)
    traced = trace(network, images)
    points = stage_ends(traced)
    with torch.no_grad():
        output, values = tapped(traced.module, points)(images)
        nothing, alone = tapped(traced.module, points, output=False)(images)
    expected_output, expected = seen_by_hooks(network, ends, images)
    assert [tuple(value.shape[1:]) for value in values] == list(ends.values())
    assert torch.equal(output, expected_output)
    assert nothing is None
    for value, again, wanted in zip(values, alone, expected, strict=True):
        assert torch.equal(value, wanted)
        assert torch.equal(again, wanted)


def test_a_stem_wider_than_its_stage_is_of_that_stage():
    network, images = widestem(4).eval(), torch.randn(2, 3, 32, 32)
    traced = trace(network, images)
    with torch.no_grad():
        _, values = tapped(traced.module, stage_ends(traced))(images)
        x = torch.relu(network.bn1(network.conv1(images)))
        wanted = [x := torch.relu(stage(x)) for stage in (network.layer1, network.layer2, network.layer3)]
    assert all(torch.equal(*pair) for pair in zip(values, wanted, strict=True))


def test_a_row_of_blocks_of_tokens_is_divided_evenly():
    """Two blocks of two sums each: patches, then the sums 1, 2 and 3, then what the class token is read from."""
    scope: dict[str, Any] = {}
    exec(SMALL_VIT, scope)
    network, images = scope["vit"](4).eval(), torch.randn(2, 3, 32, 32)
    traced = trace(network, images)
    points = stage_ends(traced)
    assert [tuple(traced.shapes[n][1:]) for n in traced.nodes if n.name in points] == [(32, 4, 4), *[(17, 32)] * 4]
    with torch.no_grad():
        _, values = tapped(traced.module, points)(images)
    _, (last,) = seen_by_hooks(network, ["encoder.ln"], images)
    _, (first_block,) = seen_by_hooks(network, ["encoder.layers.encoder_layer_0"], images)
    assert torch.equal(values[-1], last)
    assert torch.equal(values[2], first_block)


def test_dropout_and_later_changes_in_place_are_passed_over():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.Tanh(),
        nn.Dropout(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3),
        nn.ReLU(),
        nn.Dropout(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    )
    assert stage_ends(trace(network.eval(), torch.randn(2, 3, 16, 16))) == ("_1", "_4")


def test_a_network_without_images_inside_has_no_stages():
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 2))
    assert stage_ends(trace(network.eval(), torch.randn(2, 3, 2, 2))) == ()


def test_the_tapped_network_shares_its_layers():
    network, images = build("resnet20", 4), torch.randn(2, 3, 32, 32)
    traced = trace(network.eval(), images)
    found = tapped(traced.module, stage_ends(traced))
    network.train()
    logits, values = found(images)
    (logits.sum() + values[0].sum()).backward()
    assert network.conv1.weight.grad is not None
    assert network.bn1.num_batches_tracked == 1
