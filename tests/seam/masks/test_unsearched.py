"""Masks without a search, against scores computed by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from seam.data.images import LabelledImages
from seam.errors import MaskError
from seam.masks.masks import Masks, apply_masks, density
from seam.masks.unsearched import magnitude_mask, random_mask, taylor_mask
from seam.networks.head import TargetHead


class Unit(nn.Module):
    """uint8 NHWC to [0, 1] NCHW."""

    def forward(self, images: Tensor) -> Tensor:
        return images.permute(0, 3, 1, 2) / 255


class WithSpare(nn.Module):
    """A network one of whose layers is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.spare = nn.Linear(12, 4), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.used(x.flatten(1))
        return scores


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5)).eval()


def images(count: int = 9) -> LabelledImages:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (count, 2, 2, 3), generator=generator, dtype=torch.uint8)
    return LabelledImages(pixels, torch.arange(count) % 2)


def head(source_classes: int = 5) -> TargetHead:
    torch.manual_seed(2)
    return TargetHead(source_classes, 2).requires_grad_(False)


def flat(masks: Masks) -> Tensor:
    return torch.cat([m.reshape(-1) for m in masks.values()])


MAKERS = (lambda n, d: random_mask(n, d, 0), magnitude_mask, lambda n, d: taylor_mask(n, head(), Unit(), images(), d))


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(("share", "kept"), [(0.0, 0), (1 / 101, 1), (0.25, 25), (17 / 101, 17), (1.0, 101)])
def test_exactly_so_many_weights_are_kept(make: Callable[[nn.Module, float], Masks], share: float, kept: int) -> None:
    source = network()
    before = {k: v.clone() for k, v in source.state_dict().items()}
    masks = make(source, share)
    assert int(flat(masks).sum()) == kept
    assert list(masks) == ["0.weight", "0.bias", "4.weight", "4.bias"]
    assert all(torch.equal(v, before[k]) for k, v in source.state_dict().items())
    assert all(p.grad is None for p in source.parameters())
    apply_masks(source, masks)


@pytest.mark.parametrize("make", MAKERS)
def test_the_density_of_a_mask_gives_as_many_weights_again(make: Callable[[nn.Module, float], Masks]) -> None:
    for kept in range(102):
        searched = {"all": torch.arange(101) < kept}
        assert int(flat(make(network(), density(searched))).sum()) == kept


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_beyond_all_and_nothing_is_one_clear_line(share: float) -> None:
    with pytest.raises(MaskError, match=r"density must be in \[0, 1\], got"):
        magnitude_mask(network(), share)


def test_the_random_mask_follows_its_seed_and_nothing_else() -> None:
    source, other = network(), network()
    nn.init.constant_(other[0].weight, 3.0)
    assert torch.equal(flat(random_mask(source, 0.3, 7)), flat(random_mask(other, 0.3, 7)))
    assert not torch.equal(flat(random_mask(source, 0.3, 7)), flat(random_mask(source, 0.3, 8)))


def test_every_weight_has_the_same_chance() -> None:
    source = network()
    drawn = torch.stack([flat(random_mask(source, 0.25, seed)).double() for seed in range(400)])
    assert float((drawn.mean(0) - 25 / 101).abs().max()) < 0.1  # more than 4 standard errors of 0.0216


def test_the_largest_weights_of_the_whole_network_are_kept() -> None:
    source = nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 1))
    with torch.no_grad():
        for p, values in zip(source.parameters(), ([[0.1, -5.0]], [0.2], [[-0.3]], [4.0]), strict=True):
            p.copy_(torch.tensor(values))
    assert flat(magnitude_mask(source, 2 / 5)).tolist() == [False, True, False, False, True]
    assert flat(magnitude_mask(source, 3 / 5)).tolist() == [False, True, False, True, True]


def test_of_equal_weights_the_first_are_kept() -> None:
    source = nn.Linear(40, 40)
    nn.init.constant_(source.weight, -1.0)
    nn.init.constant_(source.bias, 1.0)
    assert flat(magnitude_mask(source, 0.25)).tolist() == [i < 410 for i in range(1640)]


def test_weights_that_are_no_numbers_have_no_rank() -> None:
    source = network()
    nn.init.constant_(source[4].bias, float("nan"))
    with pytest.raises(MaskError, match="expected finite scores"):
        magnitude_mask(source, 0.5)
    with pytest.raises(MaskError, match="expected finite scores"):
        taylor_mask(source, head(), Unit(), images(), 0.5)


def test_taylor_scores_by_hand() -> None:
    torch.manual_seed(3)
    source = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    data, fitted = images(), head(4)
    x = Unit()(data.images).flatten(1).double()
    weight, bias = source[1].weight.detach().double(), source[1].bias.detach().double()
    logits = x @ weight.T + bias
    wrong = (logits.relu() @ fitted.linear.weight.double().T + fitted.linear.bias.double()).softmax(1)
    wrong[torch.arange(len(data)), data.labels] -= 1
    by_logit = (wrong @ fitted.linear.weight.double()) * (logits > 0)
    scores = torch.cat([(weight * (by_logit.T @ x)).reshape(-1), bias * by_logit.sum(0)]).abs()
    for kept in (1, 5, 20, 40):
        wanted = torch.zeros(52, dtype=torch.bool)
        wanted[scores.argsort(descending=True, stable=True)[:kept]] = (
            True  # a logit that ReLU cuts for every image leaves ties at 0
        )
        assert torch.equal(flat(taylor_mask(source, fitted, Unit(), data, kept / 52)), wanted)


def test_taylor_takes_all_images_together_whatever_the_batch() -> None:
    source, data = network(), images(11)
    whole = flat(taylor_mask(source, head(), Unit(), data, 0.3, batch_size=11))
    assert torch.equal(flat(taylor_mask(source, head(), Unit(), data, 0.3, batch_size=2)), whole)
    half = LabelledImages(data.images[:2], data.labels[:2])
    assert not torch.equal(flat(taylor_mask(source, head(), Unit(), half, 0.3)), whole)


def test_a_weight_the_loss_does_not_depend_on_goes_first() -> None:
    torch.manual_seed(0)
    masks = taylor_mask(WithSpare(), head(4), Unit(), images(), 0.5)
    assert not masks["spare.weight"].any() and not masks["spare.bias"].any()
