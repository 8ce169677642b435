"""Masks on torchvision's architectures.

What a mask may remove takes part, learns, and matters. Random weights, small images.
"""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call

from seam.masks.masks import maskable
from seam.masks.scores import backward, density_of, refresh
from seam.masks.weights import ScoredWeights
from seam.networks.build import build
from tests.seam.architectures import BUILT_IN, SMALL_VIT, TORCHVISION


def _settled(network, images):
    """Statistics of these images in every BatchNorm, and no weight exactly zero: as if it had been trained."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        for parameter in maskable(network).values():
            parameter.add_(torch.randn_like(parameter) * 0.02)
        network.train()(images)
    return network.eval()


def _all_ones_changes_nothing(network, kept, images):
    """Bit for bit in the weights; in the outputs up to the order of sums.

    That order follows from where tensors lie in memory, and some of these untrained networks
    amplify rounding a thousandfold: in 64 bits that is a millionth of what is allowed here, and
    one wrong weight is more.
    """
    assert kept.keys() == maskable(network).keys()
    assert all(torch.equal(kept[name], weight) for name, weight in maskable(network).items())
    precise, images = copy.deepcopy(network).double(), images[:2].double()
    effective = {name: weight.double() for name, weight in kept.items()}
    with torch.no_grad():
        logits = precise(images)
        masked = functional_call(precise, effective, (images,))
    torch.testing.assert_close(masked, logits, rtol=0, atol=1e-9 * float(logits.abs().max()))


def _conforms(architecture, side):
    torch.manual_seed(0)
    images, labels = torch.randn(4, 3, side, side), torch.arange(4)
    network = _settled(build(architecture, 10), images)
    scored = ScoredWeights(network)
    effective = scored.effective.by_name
    assert len(scored.effective) == sum(p.numel() for p in maskable(network).values()) > 0
    _all_ones_changes_nothing(network, effective, images)
    with torch.no_grad():
        logits = network(images)
        assert logits.shape == (4, 10)
    nn.functional.cross_entropy(functional_call(network, effective, (images,)), labels).backward()
    idle = [
        name for name, weight in effective.items() if not weight.grad.any() and not name.startswith("aux")
    ]  # trained with, never run
    assert idle == []
    backward(scored, 0.0)
    assert torch.count_nonzero(scored.scores.grad) > 0.5 * torch.count_nonzero(
        torch.cat([w.grad.reshape(-1) for w in effective.values()])
    )
    with torch.no_grad():
        scored.scores.fill_(-1.0)
        refresh(scored)
        assert density_of(scored) == 0
        assert not torch.allclose(functional_call(network, effective, (images,)), logits, atol=1e-3)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", TORCHVISION)
def test_masks_work_on_torchvisions(name):
    _conforms(f"torchvision:{name}", 32)


@pytest.mark.parametrize("name", BUILT_IN)
def test_masks_work_on_the_built_in_ones(name):
    _conforms(name, 32)


def test_masks_work_on_a_vision_transformer_of_ones_own(tmp_path):
    (tmp_path / "small.py").write_text(SMALL_VIT)
    _conforms(f"{tmp_path / 'small.py'}:vit", 32)


def test_a_whole_vision_transformer_is_maskable():
    with torch.device("meta"):
        found = maskable(build("torchvision:vit_b_16", 10))
    assert sum(name.endswith("in_proj_weight") for name in found) == 12
    assert sum(p.numel() for p in found.values()) == 85_615_882
