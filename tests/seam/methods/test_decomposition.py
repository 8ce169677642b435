"""Decomposition by activations: the closed form against the loop over single images, and which kernels go."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seam.composition.activity import group_activity
from seam.configs.modules import DecompositionConfig, ModulesConfig
from seam.data.images import LabelledImages
from seam.errors import ConfigError
from seam.masks.groups import ChannelGroups
from seam.methods.decomposition import kept_groups, start
from seam.methods.modules import Classes
from tests.seam.methods.small import RUNTIME
from tests.seam.methods.test_modules_conformance import classes, source


def net() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 3))
    network = nn.Sequential(nn.Flatten(), *layers)
    with torch.no_grad():  # units that are seldom active, and some that always are
        network[1].bias.copy_(torch.linspace(-1.5, 1.5, 24))
        network[3].bias.copy_(torch.linspace(-0.8, 0.8, 16))
    return network.eval()


def images(count: int) -> LabelledImages:
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(count) % 3
    pictures = 0.4 * torch.randn(count, 3, 2, 2, generator=generator)
    pictures[torch.arange(count), labels] += 1.0
    return LabelledImages(pictures, labels)


def loop(network: nn.Sequential, data: LabelledImages, number: int, confidence: float) -> list[Tensor]:
    """The weights of one module, image by image, as the paper has it: positives first, then negatives."""
    layers = [m for m in network if isinstance(m, nn.Linear)]
    kept = [torch.cat([m.weight, m.bias[:, None]], 1).detach().clone() for m in layers]
    whole, seen = [k.clone() for k in kept], False
    order = [i for i in range(len(data)) if data.labels[i] == number] + [
        i for i in range(len(data)) if data.labels[i] != number
    ]
    for i in order:
        x = data.images[i].flatten()
        positive = int(data.labels[i]) == number
        if positive and float(network(data.images[i : i + 1]).softmax(1)[0, number].detach()) <= confidence:
            continue
        for layer, own, all_ in zip(layers[:-1], kept, whole, strict=False):
            pre = layer.weight @ x + layer.bias
            for unit in range(len(pre)):
                if positive and pre[unit] <= 0:
                    own[unit] = 0
                elif positive and seen:
                    own[unit] = torch.where(all_[unit] >= 0, torch.minimum(own[unit], all_[unit]), 0)
                elif not positive and pre[unit] > 0:
                    own[unit] = all_[unit]
            x = F.relu(pre)
        seen = seen or positive
    return kept


def test_the_closed_form_is_the_loop_over_two_hundred_images() -> None:
    network, data = net(), images(200)
    config = ModulesConfig(decomposition=DecompositionConfig(confidence=0.2))
    given = Classes(data, data, nn.Identity(), ("a", "b", "c"))
    found = start(network, given, config, RUNTIME, 0)
    different = 0
    for number, piece in enumerate(found.values()):
        for layer, wanted in zip(("1", "3", "5"), loop(network, data, number, 0.2), strict=True):
            linear = network.get_submodule(layer)
            own = torch.cat([linear.weight, linear.bias[:, None]], 1).detach()
            mask = torch.cat([piece.masks[f"{layer}.weight"], piece.masks[f"{layer}.bias"][:, None]], 1)
            assert torch.equal(own * mask, wanted)
            different += int((~mask).sum())
    assert different > 300
    assert all(bool(piece.masks["5.weight"].all()) for piece in found.values())


def test_the_score_is_the_output_less_the_mean_of_the_others() -> None:
    found = start(source("residual"), classes(), ModulesConfig(), RUNTIME, 0)
    logits = torch.randn(5, 4)
    for i, piece in enumerate(found.values()):
        others = [j for j in range(4) if j != i]
        assert torch.allclose(piece.head(logits)[:, 0], logits[:, i] - logits[:, others].mean(1), atol=1e-6)


def test_kernels_that_others_use_more_go_first_at_most_a_share_of_each_layer() -> None:
    groups = ChannelGroups(7, {"a": torch.arange(5), "b": torch.tensor([5, 6, -1])}, {})
    score = torch.tensor([0.5, -1.0, -3.0, -2.0, 0.1, -9.0, 4.0])
    kept = {removal: kept_groups(groups, score, removal).tolist() for removal in (0.0, 0.4, 0.8)}
    assert kept[0.0] == [True] * 7
    assert kept[0.4] == [True, True, False, False, True, True, True]  # of five two, of two none
    assert kept[0.8] == [True, False, False, False, True, False, True]  # the fourth of five is not below 0


def test_how_active_a_group_is() -> None:
    groups = ChannelGroups(2, {}, {"x": torch.tensor([0, 1, -1]), "y": torch.tensor([1, 1])})
    reads = {"x": torch.tensor([[3.0, 1.0, 2.0], [1.0, 3.0, 2.0]]), "y": torch.tensor([[2.0, 2.0], [0.0, 4.0]])}
    assert torch.allclose(group_activity(groups, reads), torch.tensor([[1.5, 0.5 + 2.0], [0.5, 1.5 + 2.0]]))


def test_the_form_is_chosen_by_the_network() -> None:
    dense, net_ = source("dense"), source("residual")
    forms = {}
    for form in ("auto", "dense", "channels"):
        config = ModulesConfig(decomposition=DecompositionConfig(form=form))
        forms[form] = next(iter(start(copy.deepcopy(dense), classes(), config, RUNTIME, 0).values())).masks
    assert forms["auto"]["1.weight"].shape == forms["dense"]["1.weight"].shape == dense[1].weight.shape
    assert forms["channels"]["1.weight"].shape == (20,)
    with pytest.raises(ConfigError, match="expected a dense ReLU network"):
        start(net_, classes(), ModulesConfig(decomposition=DecompositionConfig(form="dense")), RUNTIME, 0)
