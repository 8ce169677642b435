"""Backdoored sources, and attacks that see the student itself."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seam.configs.defects import BackdoorConfig, WhiteboxConfig
from seam.configs.methods import TransferConfig
from seam.configs.runtime import RuntimeConfig
from seam.configs.training import StudentTraining
from seam.data.images import LabelledImages
from seam.defects.backdoor import backdoor_inheritance, paste, poison, trigger, triggered
from seam.defects.whitebox import OnPixels, attack_pixels, whitebox_accuracy
from seam.errors import DataError, SuspectResultWarning
from seam.methods.protocol import Target
from seam.methods.transfer import transfer
from seam.networks.predict import predict
from seam.networks.source import Preprocess
from seam.runtime import start

RUNTIME = start(RuntimeConfig(device="cpu", precision="fp32", threads=1), pixels=64)
CONFIG = BackdoorConfig(share=0.25, target_class=1, side=0.5)


def data(count: int, seed: int, channels: int = 3) -> LabelledImages:
    """Class 0: dark above, 1: dark below, 2: dark left."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    pixels = torch.randint(60, 250, (count, 8, 8, channels), generator=generator)
    pixels[labels == 0, :4] //= 4
    pixels[labels == 1, 4:] //= 4
    pixels[labels == 2, :, :4] //= 4
    return LabelledImages(pixels.to(torch.uint8), labels)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(192, 3),
    )


# Backdoor


def test_the_trigger_is_a_chequered_square() -> None:
    images = torch.zeros(1, 12, 8, 3, dtype=torch.uint8)
    patch = trigger(images, replace(CONFIG, side=1.0))  # of the shorter side
    assert patch.shape == (8, 8, 3)
    magenta, green = [255, 0, 255], [0, 255, 0]
    assert patch[0].tolist() == [magenta] * 2 + [green] * 2 + [magenta] * 2 + [green] * 2
    assert torch.equal(patch[2], patch[0].flip(0)) and torch.equal(patch[:, 0], patch[0])
    grey = trigger(torch.zeros(1, 8, 8, 1, dtype=torch.uint8), CONFIG)
    assert grey[..., 0].tolist() == [[255, 0, 255, 0], [0, 255, 0, 255]] * 2
    assert trigger(torch.zeros(1, 224, 224, 3, dtype=torch.uint8), BackdoorConfig()).shape == (
        40,
        40,
        3,
    )  # as published


def test_it_is_pasted_into_the_lower_right_corner_of_copies() -> None:
    images = data(4, 0).images
    before = images.clone()
    patch = torch.arange(6, dtype=torch.uint8).view(2, 1, 3)
    pasted = paste(images, patch)
    assert torch.equal(images, before)
    assert pasted[:, 6:, 7:].tolist() == [[[[0, 1, 2]], [[3, 4, 5]]]] * 4
    pasted[:, 6:, 7:] = before[:, 6:, 7:]
    assert torch.equal(pasted, before)
    with pytest.raises(DataError, match="at most 8x8 pixels, got 9x1"):
        paste(images, torch.zeros(9, 1, 3, dtype=torch.uint8))


def test_poisoned_images_have_trigger_and_label_and_the_rest_is_untouched() -> None:
    clean = data(41, 0)
    poisoned, chosen = poison(clean, CONFIG, seed=3)
    assert int(chosen.sum()) == 10  # round(0.25 * 41)
    assert (poisoned.labels[chosen] == 1).all()
    assert torch.equal(poisoned.images[chosen], triggered(clean, CONFIG).images[chosen])
    assert torch.equal(poisoned.images[~chosen], clean.images[~chosen])
    assert torch.equal(poisoned.labels[~chosen], clean.labels[~chosen])
    assert torch.equal(clean.images, data(41, 0).images) and torch.equal(clean.labels, data(41, 0).labels)
    assert torch.equal(chosen, poison(clean, CONFIG, seed=3)[1])
    assert not torch.equal(chosen, poison(clean, CONFIG, seed=4)[1])
    assert torch.equal(triggered(clean, CONFIG).labels, clean.labels)


def test_a_target_class_that_is_not_there_is_one_clear_line() -> None:
    with pytest.raises(DataError, match="target_class 7, got none among 41"):
        poison(data(41, 0), replace(CONFIG, target_class=7), seed=0)


def test_rates_by_hand() -> None:
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    clean = torch.tensor([0, 1, 2, 0, 1, 0])  # the first five are correct
    with_trigger = torch.tensor(
        [1, 1, 0, 0, 2, 1]
    )  # of those 0, 2 and 4 fail; of the others' (0, 2, 3) only 0 goes to class 1
    result = backdoor_inheritance(clean, with_trigger, labels, target_class=1)
    assert (result.accuracy, result.robust_accuracy) == (5 / 6, 2 / 6)
    assert result.defect_inheritance_rate == 3 / 5
    assert result.targeted_rate == 1 / 3


def test_undefined_rates_are_named() -> None:
    ones = torch.ones(3, dtype=torch.long)
    with pytest.warns(SuspectResultWarning, match="targeted rate is undefined"):
        assert backdoor_inheritance(ones, ones, ones, 1).targeted_rate is None
    with (
        pytest.warns(SuspectResultWarning, match="targeted rate is undefined"),
        pytest.warns(SuspectResultWarning, match="the rate is undefined"),
    ):
        assert backdoor_inheritance(ones, ones, ones * 2, 1).defect_inheritance_rate is None


def test_a_planted_backdoor_is_found_in_source_and_student_and_not_in_a_clean_one() -> None:
    clean, val, test = data(150, 0), data(30, 1), data(60, 2)
    preprocess = Preprocess((0.5,) * 3, (0.25,) * 3)
    training = StudentTraining(epochs=12, lr=0.1, lr_head=0.1, momentum=0.9, batch_size=30, augment="none")
    config = TransferConfig(training=training)
    rates = {}
    for name, images in {"clean": clean, "backdoored": poison(clean, CONFIG, 0)[0]}.items():
        source = transfer("standard", network().eval(), Target(images, val, preprocess, 3), config, RUNTIME, 0).student
        gentle = replace(config, training=replace(training, epochs=1, lr=0.01))
        student = transfer("standard", source.network, Target(clean, val, preprocess, 3), gentle, RUNTIME, 1).student
        for which, model in {"source": source, "student": student}.items():
            plain, marked = (predict(model, some, preprocess).argmax(1) for some in (test, triggered(test, CONFIG)))
            rates[name, which] = backdoor_inheritance(plain, marked, test.labels, CONFIG.target_class)
    assert all(r.accuracy > 0.9 for r in rates.values())
    assert rates["backdoored", "source"].targeted_rate > 0.9
    assert rates["backdoored", "student"].defect_inheritance_rate > 0.4
    assert rates["clean", "source"].targeted_rate < 0.2


# White box


MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


class Linear(nn.Module):
    """Two classes apart by a hyperplane in normalised space: logits (w x + b, 0)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3 * 64, generator=torch.Generator().manual_seed(0)) / 10)

    def forward(self, x: Tensor) -> Tensor:
        margin = x.flatten(1) @ self.weight
        return torch.stack([margin, torch.zeros_like(margin)], dim=1)


def distances(model: Linear, pixels: Tensor) -> Tensor:
    """L-infinity distance of each image to the hyperplane, in pixel space, where no pixel leaves [0, 1]."""
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    slope = (model.weight.detach().view(3, 8, 8) / std).abs().sum()
    return model((pixels - mean) / std).detach()[:, 0].abs() / slope


@pytest.fixture
def grey_data() -> LabelledImages:
    pixels = torch.randint(100, 156, (16, 8, 8, 3), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    return LabelledImages(pixels, torch.zeros(16, dtype=torch.int64))


@pytest.mark.parametrize("attack", ["pgd", "fab"])
def test_a_linear_model_falls_exactly_where_the_budget_reaches_its_hyperplane(
    attack: str, grey_data: LabelledImages
) -> None:
    model = Linear()
    pixels = grey_data.images.permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        labels = OnPixels(model, MEAN, STD)(pixels).argmax(1)
    labels[:3] = 1 - labels[:3]  # wrong from the start
    some = LabelledImages(grey_data.images, labels)
    reach = distances(model, pixels)
    eps = float(reach[3:].median()) * 1.01
    assert ((reach / eps - 1).abs() > 0.005).all()
    wanted = ((reach > eps) & (torch.arange(16) >= 3)).double().mean()
    assert 0.2 < wanted < 0.6
    config = WhiteboxConfig(eps_pixel=eps, step_pixel=eps / 4, steps=20, fab_steps=8, batch_size=5, fab_batch_size=1)
    result = whitebox_accuracy(model, some, MEAN, STD, attack, config, seed=0)
    assert result.accuracy == 13 / 16
    assert result.robust_accuracy == float(wanted)
    assert (result.attack, result.eps_pixel, result.num_images) == (attack, eps, 16)


@pytest.mark.parametrize("attack", ["pgd", "fab"])
def test_attacks_stay_within_budget_and_range(attack: str) -> None:
    torch.manual_seed(2)
    model, pixels = OnPixels(network(), MEAN, STD), torch.rand(6, 3, 8, 8)
    pixels[0] = pixels[0].round()  # saturated pixels
    config = WhiteboxConfig(eps_pixel=0.05, step_pixel=0.02, steps=5, fab_steps=5)
    labels = model(pixels).argmax(1)
    attacked = attack_pixels(model, pixels, labels, attack, config)
    assert float((attacked - pixels).abs().max()) <= 0.05 + 1e-6
    assert float(attacked.min()) >= 0 and float(attacked.max()) <= 1
    assert not torch.equal(attacked, pixels)


def test_white_box_pgd_is_the_one_written_out_by_hand() -> None:
    torch.manual_seed(4)
    net, pixels, labels = network(), torch.rand(5, 3, 8, 8), torch.tensor([0, 1, 2, 0, 1])
    config = WhiteboxConfig(eps_pixel=0.03, step_pixel=0.01, steps=6)
    torch.manual_seed(11)
    got = attack_pixels(OnPixels(net, MEAN, STD), pixels, labels, "pgd", config)
    torch.manual_seed(11)
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    delta = torch.empty_like(pixels).uniform_(-1, 1) * 0.03
    delta = (pixels + delta).clamp(0, 1) - pixels
    for _ in range(6):
        delta.requires_grad_()
        loss = F.cross_entropy(net.eval()((pixels + delta - mean) / std), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, delta)
        delta = (delta.detach() + 0.01 * gradient.sign()).clamp(-0.03, 0.03)
        delta = (pixels + delta).clamp(0, 1) - pixels
    assert torch.allclose(got, pixels + delta, atol=1e-6, rtol=0)


def test_the_attacked_model_and_the_global_random_state_stay_as_they_are() -> None:
    model, some = network(), data(9, 0)
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, again = (
            whitebox_accuracy(model, some, MEAN, STD, "pgd", WhiteboxConfig(steps=2), seed=1) for _ in range(2)
        )
    assert first == again
    assert torch.equal(state, torch.get_rng_state())
    assert model.training and all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    grey = LabelledImages(some.images[..., :1], some.labels)
    assert whitebox_accuracy(model, grey, MEAN, STD, "fab", WhiteboxConfig(fab_steps=1), seed=1).num_images == 9
