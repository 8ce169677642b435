"""One pass for several modules: each image under several masks of channels."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from seam.compaction import compact
from seam.errors import MaskError, NoChannelsError
from seam.masks.gate import Gated, KernelScores
from seam.masks.groups import ChannelGroups, channel_groups
from seam.masks.kernels import groups_of_masks, kernel_masks, weight_masks
from seam.masks.masks import apply_masks
from seam.networks.build import build
from tests.seam.composition.networks import IMAGES, KINDS, groups_and_some, seeded

EVERY = pytest.mark.parametrize("kind", KINDS)


@EVERY
def test_open_gates_leave_the_outputs_as_they_are(kind: str) -> None:
    network = seeded(kind)
    groups, _ = groups_and_some(network)
    out = Gated(network, groups, IMAGES)(IMAGES.repeat(3, 1, 1, 1), torch.ones(3, groups.number))
    assert torch.allclose(out, network(IMAGES.repeat(3, 1, 1, 1)).unflatten(0, (3, -1)), atol=1e-5)


@EVERY
def test_each_module_gives_what_its_masked_and_its_compacted_network_gives(kind: str) -> None:
    network = seeded(kind)
    groups, first = groups_and_some(network, 0)
    kept = torch.stack([first, groups_and_some(network, 1)[1], torch.ones_like(first)])
    own = torch.randn(3 * 4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    out = Gated(network, groups, IMAGES)(own, kept.float())
    for one, images, mask in zip(out, own.unflatten(0, (3, 4)), kept, strict=True):
        masked = copy.deepcopy(network)
        apply_masks(masked, weight_masks(network, groups, mask))
        expected = masked(images)
        assert torch.allclose(one, expected, atol=1e-5)
        assert torch.allclose(compact(masked, images).module(images), expected, atol=1e-5)
    assert not torch.allclose(out[0], network(own[:4]), atol=1e-3)


def test_it_works_on_a_network_of_the_field() -> None:
    torch.manual_seed(0)
    network, images = build("torchvision:shufflenet_v2_x0_5", 5).eval(), torch.randn(2, 3, 32, 32)
    groups = channel_groups(network, images)
    kept = torch.rand(groups.number) < 0.8
    masked = copy.deepcopy(network)
    apply_masks(masked, weight_masks(network, groups, kept))
    assert torch.allclose(Gated(network, groups, images)(images, kept[None].float())[0], masked(images), atol=1e-5)


def test_every_gate_feels_the_gradient_that_its_channel_has() -> None:
    """By hand: the difference that a small change of one gate makes."""
    network = seeded("concatenating")
    groups, kept = groups_and_some(network)
    network.double()
    gated, gates = Gated(network, groups, IMAGES.double()), kept.double()[None].requires_grad_()

    def loss(at: Tensor) -> Tensor:
        return gated(IMAGES.double(), at)[0].square().sum()

    loss(gates).backward()
    for group in (0, 7, 20, groups.number - 1):
        step = torch.zeros_like(gates)
        step[0, group] = 1e-6
        slope = (loss(gates.detach() + step) - loss(gates.detach() - step)) / 2e-6
        assert float(gates.grad[0, group]) == pytest.approx(float(slope), rel=1e-4, abs=1e-6)


def test_a_network_that_cannot_be_followed_is_refused() -> None:
    class Loop(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(NoChannelsError, match="the channels of Loop cannot be followed"):
        Gated(Loop(), ChannelGroups(0, {}, {}), IMAGES)


@EVERY
def test_masks_of_kernels_and_groups_say_the_same(kind: str) -> None:
    network = seeded(kind)
    groups, kept = groups_and_some(network)
    masks = kernel_masks(groups, kept)
    assert torch.equal(groups_of_masks(groups, masks), kept)
    parameters = dict(network.named_parameters())
    assert all(mask.shape == parameters[name].shape[:1] for name, mask in masks.items())
    with pytest.raises(MaskError, match=r"expected masks of .* layers"):
        groups_of_masks(groups, dict(list(masks.items())[1:]))
    name = next(iter(masks))
    with pytest.raises(MaskError, match=f"kernels of '{name}': expected"):
        groups_of_masks(groups, {**masks, name: masks[name][1:]})


def test_a_part_of_a_group_is_refused() -> None:
    network = seeded("residual")
    groups, _ = groups_and_some(network)
    masks = kernel_masks(groups, torch.ones(groups.number, dtype=torch.bool))
    masks["stem.weight"][3] = False  # what `b` makes is added to it, and stays
    with pytest.raises(MaskError, match="kept together"):
        groups_of_masks(groups, masks)


def test_scores_at_zero_close_gates_and_every_layer_keeps_its_best() -> None:
    groups, _ = groups_and_some(seeded("residual"))
    scores = KernelScores(groups, 2)
    assert bool((scores.gates() == 1).all()) and scores.kept() == 1
    with torch.no_grad():
        scores.scores[0] = -1.0
        scores.scores[0, groups.outputs["stem"][5]] = -0.5
        scores.scores[0, groups.outputs["down"][2]] = -0.5
    gates = scores.gates().detach()
    closed = gates[0].clone()
    closed[[int(groups.outputs["stem"][5]), int(groups.outputs["down"][2])]] = 0
    assert not closed.any() and bool((gates[1] == 1).all())
    # `a` is inside the block and may go whole: of 32 + 64 + 32 + 64 kernels one of stem and b, and one of down stay.
    assert scores.kept() == pytest.approx((3 / 192 + 1) / 2)


def test_the_gradient_reaches_scores_of_closed_gates_clamped() -> None:
    groups, _ = groups_and_some(seeded("residual"))
    scores = KernelScores(groups, 1)
    with torch.no_grad():
        scores.scores[0, 4] = -1.0
    (scores.gates() * torch.linspace(-3, 3, groups.number)).sum().backward()
    assert torch.equal(scores.scores.grad[0], torch.linspace(-3, 3, groups.number).clamp(-1, 1))


def test_the_first_layers_may_be_shared() -> None:
    groups, _ = groups_and_some(seeded("concatenating"))
    scores = KernelScores(groups, 1, shared=0.5)
    with torch.no_grad():
        scores.scores.fill_(-1)
    gates = scores.gates().detach()[0]
    assert all(bool(gates[groups.outputs[name]].all()) for name in ("stem", "one"))
    assert int(gates[groups.outputs["three"]].sum()) == int(gates[groups.outputs["join"]].sum()) == 1
