"""Masks over groups of channels, on networks small enough to know them by heart."""

import pytest
import torch
from torch import nn

from seam.compaction import compact
from seam.masks.channels import ScoredChannels
from seam.masks.groups import channel_groups
from seam.masks.masks import apply_masks
from seam.masks.scores import density_of, masks_of, refresh
from seam.measures.macs import count, weight_macs
from seam.networks.build import build
from tests.seam.masks.block import IMAGES, seeded_block


@pytest.fixture
def network():
    return seeded_block()


def _mask_by_hand(network, groups, kept):
    """Channel by channel: a weight stays where both its channels do."""
    masks = {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            out = torch.tensor([g < 0 or kept[g] for g in groups.outputs[name].tolist()])
            into = torch.tensor([g < 0 or kept[g] for g in groups.inputs[name].tolist()])
            mask = torch.zeros_like(layer.weight, dtype=torch.bool)
            per = len(into) // layer.groups if isinstance(layer, nn.Conv2d) else len(into)
            for o in range(mask.shape[0]):
                group = o // (mask.shape[0] // layer.groups) if isinstance(layer, nn.Conv2d) else 0
                for i in range(mask.shape[1]):
                    mask[o, i] = out[o] & into[group * per + i]
            masks[f"{name}.weight"] = mask
            if layer.bias is not None:
                masks[f"{name}.bias"] = out
    return masks


def test_a_mask_keeps_the_weights_between_kept_channels(network):
    groups = channel_groups(network, IMAGES)
    scored = ScoredChannels(network, groups)
    kept = torch.tensor([1, 0, 1, 0, 1, 1, 0, 0, 1, 1], dtype=torch.bool)
    _keep_exactly(scored, kept)
    expected = _mask_by_hand(network, groups, kept.tolist())
    assert all(torch.equal(mask, expected[name]) for name, mask in masks_of(scored).items())
    total = sum(int(m.sum()) for m in expected.values()) / sum(m.numel() for m in expected.values())
    assert density_of(scored) == pytest.approx(total)


def _all_but(*removed):
    kept = torch.ones(10, dtype=torch.bool)
    kept[torch.tensor(removed)] = False
    return kept


def _spend_on(scored, kept):
    """Have a budget for just these groups."""
    scored.keep(_spent(scored, torch.ones(len(scored.effective)), kept) / len(scored.effective))


def _keep_exactly(scored, kept):
    """Score these groups best, and spend what they cost."""
    with torch.no_grad():
        scored.scores.copy_(kept.float())
    _spend_on(scored, kept)


def test_what_is_masked_is_what_compaction_removes(network):
    groups = channel_groups(network, IMAGES)
    scored = ScoredChannels(network, groups)
    _keep_exactly(scored, _all_but(*groups.outputs["inner"][:4], groups.outputs["stem"][1]))
    apply_masks(network, masks_of(scored))
    done = compact(network, IMAGES)
    assert (done.module.inner.out_channels, done.module.stem.out_channels, done.module.fc.in_features) == (2, 3, 12)
    images = torch.randn(3, 3, 8, 8)
    torch.testing.assert_close(done.module(images), network(images), atol=1e-5, rtol=1e-5)


def test_the_signal_is_the_gradient_with_respect_to_a_gate(network):
    """Finite differences are no help (the gate is binary), so the gates are written into the network as factors."""
    groups = channel_groups(network, IMAGES)
    scored = ScoredChannels(network, groups)
    kept = _all_but(groups.outputs["inner"][0])
    _keep_exactly(scored, kept)
    refresh(scored)
    images = torch.randn(4, 3, 8, 8)
    torch.func.functional_call(network, scored.effective.by_name, (images,)).square().sum().backward()
    gates = kept.float().requires_grad_()
    always = torch.cat([gates, torch.ones(1)])
    weights = {}
    for name, parameter in network.named_parameters():
        layer, _, kind = name.rpartition(".")
        if layer == "norm":
            continue
        made = always[groups.outputs[layer]]
        if kind == "bias":
            weights[name] = parameter.detach() * made
            continue
        read = always[groups.inputs[layer]]
        read = read.view(-1, 1) if layer == "depthwise" else read.view(1, -1)
        weights[name] = parameter.detach() * (made[:, None] * read).view(
            parameter.shape[0], parameter.shape[1], *[1] * (parameter.ndim - 2)
        )
    torch.func.functional_call(network, weights, (images,)).square().sum().backward()
    torch.testing.assert_close(scored.signal(), gates.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("budget", [0.1, 0.3, 0.7, 1.0])
def test_as_many_groups_are_kept_as_the_budget_pays_for(network, budget):
    scored = ScoredChannels(network, channel_groups(network, IMAGES))
    with torch.no_grad():
        scored.scores.copy_(torch.rand(10, generator=torch.Generator().manual_seed(1)))
    costs = scored.effective.spread(weight_macs(network, torch.zeros(1, 3, 8, 8)))
    scored.keep(budget, costs)
    kept = scored._open[:-1].clone()
    assert _spent(scored, costs, kept) <= max(budget * float(costs.sum()), _least(scored, costs)) * (1 + 1e-6)
    for group in (~kept).nonzero():  # one more, whichever, would be too much
        more = kept.clone()
        more[group] = True
        assert _spent(scored, costs, more) > budget * float(costs.sum())


def test_the_best_come_first_and_what_is_too_dear_is_passed_by(network):
    """A channel of the stream is in every layer; the six inside are cheap."""
    groups = channel_groups(network, IMAGES)
    scored = ScoredChannels(network, groups)
    inner, stream = groups.outputs["inner"], groups.outputs["stem"]
    with torch.no_grad():
        scored.scores[stream] = torch.tensor([0.9, 0.8, 0.7, 0.6])
        scored.scores[inner] = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.85])
    costs = scored.effective.spread(weight_macs(network, torch.zeros(1, 3, 8, 8)))
    wanted = _all_but(*stream[1:], *inner[:4])
    budget = _spent(scored, costs, wanted) / float(costs.sum())
    scored.keep(budget, costs)
    assert torch.equal(scored._open[:-1], wanted)


def _spent(scored, costs, kept):
    """What the weights between these groups and what always stays cost."""
    return scored._spent(torch.cat([kept, torch.ones(1, dtype=torch.bool)]), scored._of_pairs(costs))


def _least(scored, costs):
    """With only the best channel of each layer that cannot do without."""
    return scored._spent(scored._leaders(scored.scores), scored._of_pairs(costs))


def test_the_inside_of_a_residual_block_is_dispensable(network):
    groups = channel_groups(network, IMAGES)
    assert groups.dispensable == {"inner"}
    scored = ScoredChannels(network, groups)
    _keep_exactly(scored, _all_but(*groups.outputs["inner"]))
    apply_masks(network, masks_of(scored))
    done = compact(network, IMAGES)
    assert not any(isinstance(layer, nn.Conv2d) and layer.out_channels == 6 for layer in done.module.modules())
    images = torch.randn(3, 3, 8, 8)
    torch.testing.assert_close(done.module(images), network(images), atol=1e-5, rtol=1e-5)
    assert network(images).std(0).sum() > 0.01  # it still depends on the image


def test_every_layer_keeps_its_best_channel(network):
    groups = channel_groups(network, IMAGES)
    scored = ScoredChannels(network, groups)
    with torch.no_grad():
        scored.scores.copy_(torch.arange(10.0))
    scored.keep(1e-6)
    made = masks_of(scored)["stem.weight"].flatten(1).any(1)
    assert made.tolist() == [g == groups.outputs["stem"].max() for g in groups.outputs["stem"]]
    assert not masks_of(scored)["inner.weight"].any()  # the block's input goes past it


def test_channels_stay_and_go_in_blocks_best_with_best(network):
    """Of 6 channels inside, in blocks of 4: the four best and the other two; of the stream's 4, all."""
    groups = channel_groups(network, IMAGES)
    scored = ScoredChannels(network, groups, block=4)
    inner, stream = groups.outputs["inner"], groups.outputs["stem"]
    with torch.no_grad():
        scored.scores[inner] = torch.tensor([0.9, 0.1, 0.5, 0.7, 0.3, 0.6])
        scored.scores[stream] = torch.tensor([0.0, 0.1, 0.2, 0.9])
    assert scored._block_scores()[inner].tolist() == pytest.approx([0.675, 0.2, 0.675, 0.675, 0.2, 0.675])
    assert scored._block_scores()[stream].tolist() == pytest.approx([0.3] * 4)
    _spend_on(scored, scored._block_scores() > 0.25)
    assert masks_of(scored)["inner.weight"].flatten(1).any(1).tolist() == [True, False, True, True, False, True]
    _spend_on(scored, scored._block_scores() > 0.5)  # a layer's best block stays, whatever it scores
    assert masks_of(scored)["stem.weight"].all()


def test_a_search_in_blocks_leaves_multiples_of_a_block_on_a_real_architecture():
    torch.manual_seed(0)
    network, images = build("resnet20_a", 10).eval(), torch.rand(2, 3, 32, 32)
    scored = ScoredChannels(network, channel_groups(network, images), block=8)
    with torch.no_grad():
        scored.scores.copy_(torch.rand(len(scored.scores), generator=torch.Generator().manual_seed(0)))
    costs = scored.effective.spread(weight_macs(network, images[:1]))
    scored.keep(0.4, costs)
    assert 0.25 * float(costs.sum()) < float((costs * scored.mask()).sum()) <= 0.4 * float(costs.sum())
    apply_masks(network, masks_of(scored))
    small = compact(network, images).module
    widths = [layer.out_channels for layer in small.modules() if isinstance(layer, nn.Conv2d)]
    assert all(width % 8 == 0 for width in widths)
    assert len(set(widths)) > 1


@pytest.mark.parametrize("architecture", ["resnet20", "resnet20_a", "vgg16_bn_cifar"])
def test_built_in_networks_have_groups_and_half_of_them_can_go(architecture):
    torch.manual_seed(0)
    network, images = build(architecture, 10).eval(), torch.rand(2, 3, 32, 32)
    scored = ScoredChannels(network, channel_groups(network, images))
    with torch.no_grad():
        scored.scores.copy_(torch.rand(len(scored.scores), generator=torch.Generator().manual_seed(0)))
    scored.keep(0.5, scored.effective.spread(weight_macs(network, images[:1])))
    apply_masks(network, masks_of(scored))
    done = compact(network, images)
    assert count(done.module, images[:1]).macs_dense < 0.53 * count(network, images[:1]).macs_dense
    torch.testing.assert_close(done.module(images), network(images), atol=1e-4, rtol=1e-4)
