"""Networks without the channels that nothing reads: in training, too, they are the networks they were made of."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import googlenet

from seam.masks.channels import ScoredChannels
from seam.masks.groups import channel_groups
from seam.masks.masks import apply_masks, maskable
from seam.masks.scores import masks_of
from seam.networks.build import build
from seam.training.narrow import narrow
from tests.seam.architectures import Stream

FOLLOWED = (
    *(
        "resnet20",
        "resnet20_a",
        "vgg16_bn_cifar",
        "torchvision:densenet121",
        "torchvision:mnasnet0_5",
        "torchvision:mobilenet_v3_small",
    ),
    *(
        "torchvision:regnet_y_400mf",
        "torchvision:resnet18",
        "torchvision:shufflenet_v2_x0_5",
        "torchvision:squeezenet1_1",
    ),
)
OTHER_IN_TRAINING = {
    "blocks are left out at random": lambda: build("torchvision:efficientnet_b0", 4),
    "further outputs": lambda: googlenet(num_classes=4, aux_logits=True, init_weights=False),
}
IMAGES, LABELS = (8, 3, 32, 32), torch.arange(8) % 4


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def _without_channels(network, images, kept=0.4):
    """Masks that remove whole channels, and a few single weights of the others."""
    scored = ScoredChannels(copy.deepcopy(network), channel_groups(network, images))
    with torch.no_grad():
        scored.scores.copy_(torch.rand_like(scored.scores))
        scored.keep(kept)
    return {name: mask & (torch.rand(mask.shape) < 0.9) for name, mask in masks_of(scored).items()}


def _loss(network, images):
    return F.cross_entropy(network(images), LABELS)


def _certain(network):
    """Without dropout, which would draw other numbers for fewer channels."""
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network


def _built(architecture):
    return Stream(dim=32, side=32, classes=4, written=True) if architecture == "stream" else build(architecture, 4)


@pytest.mark.parametrize("architecture", ["stream", *FOLLOWED])
def test_outputs_gradients_and_statistics_while_training_are_the_wide_networks(architecture):
    network, images = _certain(_built(architecture)), torch.randn(IMAGES)
    masks = _without_channels(network, images)
    apply_masks(network, masks)
    network, images = network.double(), images.double()
    narrowed = narrow(network, masks, images[:2])
    assert narrowed is not None, "nothing was taken out"
    small = narrowed.network
    assert sum(p.numel() for p in small.parameters()) < 0.9 * sum(p.numel() for p in network.parameters())
    for model in (network, small):
        model.requires_grad_(True).train()
        _loss(model, images).backward()
    own, wide = dict(small.named_parameters()), dict(network.named_parameters())
    largest = max(float(p.grad.abs().max()) for p in wide.values() if p.grad is not None)
    for name, parameter in own.items():
        at = narrowed.positions[name]
        assert parameter.grad is not None or wide[name].grad is None, name
        if parameter.grad is not None:
            kept = at >= 0
            torch.testing.assert_close(
                parameter.grad[kept], wide[name].grad.flatten()[at[kept]], rtol=1e-6, atol=1e-9 * largest
            )
    before = copy.deepcopy(network).eval()
    with torch.no_grad():
        for name, buffer in small.named_buffers():
            if name not in narrowed.positions:  # an order of channels, not the wide network's
                continue
            torch.testing.assert_close(
                buffer, before.get_buffer(name).flatten()[narrowed.positions[name]], rtol=1e-9, atol=1e-9
            )
        for parameter in own.values():
            parameter.mul_(0.9)
        apply_masks(small, narrowed.masks)
        narrowed.restore(network)
        expected = small.eval()(images)
        torch.testing.assert_close(network.eval()(images), expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))
    assert all(not network.get_parameter(name)[~mask].any() for name, mask in masks.items())


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("why", OTHER_IN_TRAINING)
def test_a_network_that_does_other_things_while_training_is_left_as_it_is(why):
    network, images = OTHER_IN_TRAINING[why]().eval(), torch.randn(IMAGES)
    assert narrow(network, _without_channels(network, images), images[:2]) is None


def test_where_every_channel_is_read_nothing_is_made():
    network = build("resnet20", 4)
    assert (
        narrow(network, {name: torch.rand(p.shape) < 0.9 for name, p in maskable(network).items()}, torch.randn(IMAGES))
        is None
    )


def test_weights_that_are_not_zero_under_their_mask_are_left_as_they_are():
    network, images = build("resnet20", 4).eval(), torch.randn(IMAGES)
    masks = _without_channels(network, images)
    assert narrow(network, masks, images[:2]) is None
    apply_masks(network, masks)
    assert narrow(network, masks, images[:2]) is not None


def test_layers_that_share_weights_are_left_as_they_are():
    network = nn.Sequential(
        nn.Conv2d(3, 16, 1),
        nn.Conv2d(16, 16, 1),
        nn.Conv2d(16, 16, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 4),
    )
    network[2].weight = network[1].weight
    masks = {
        "0.weight": torch.arange(16).view(16, 1, 1, 1).expand(16, 3, 1, 1) < 8,
        "1.weight": torch.zeros(16, 16, 1, 1, dtype=torch.bool),
    }
    assert narrow(network, masks, torch.randn(IMAGES)) is None


def test_the_width_that_norms_read_is_taken_out_where_it_stays_zero():
    network, images = Stream(dim=32, side=32, classes=4, written=True).eval(), torch.randn(IMAGES)
    masks = _without_channels(network, images)
    apply_masks(network, masks)
    small = narrow(network, masks, images[:2]).network
    assert small.scale.numel() in (8, 16, 24)
    with torch.no_grad():
        network.out.bias[~masks["scale"]] = 0.1  # it may learn
        network.scale[~masks["scale"]] = 0.1
    masks = {name: mask for name, mask in masks.items() if name not in ("out.bias", "scale")}
    assert narrow(network, masks, images[:2]).network.scale.numel() == 32
