"""The feature attack, against an implementation written out by hand, and the defect inheritance rate."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from torch import Tensor, nn

from seam.configs.defects import AttackConfig
from seam.defects.feature_attack import attack, describe_attack, feature_loss, random_noise
from seam.defects.inheritance import defect_inheritance
from seam.defects.penultimate import PenultimateFeatures
from seam.errors import SourceError, SuspectResultWarning

MEAN, STD = (0.3, 0.4, 0.5), (0.2, 0.25, 0.3)


class Net(nn.Module):
    """Convolution, BatchNorm, pooling, linear: features are the 6 pooled channels."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.bn = nn.BatchNorm2d(6)
        self.fc = nn.Linear(6, 4)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)

    def features(self, x: Tensor) -> Tensor:
        return torch.tanh(self.bn(self.conv(x))).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x))


@pytest.fixture
def net() -> nn.Module:
    return Net().eval()


@pytest.fixture
def images() -> Tensor:
    pixels = torch.rand(7, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    pixels[0, :, 0] = 1.0
    return (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def by_hand(net: nn.Module, images: Tensor, config: AttackConfig, seed: int, low: Tensor, high: Tensor) -> Tensor:
    """The published attack without advertorch and without hooks."""
    torch.manual_seed(seed)
    done = []
    for x in images.split(config.batch_size):
        delta = torch.empty_like(x).uniform_(-1, 1) * config.eps_normalized
        delta = torch.clamp(x + delta, low, high) - x
        for _ in range(config.steps):
            delta.requires_grad_()
            f = net.features(x + delta)
            loss = torch.zeros(())
            for row in f:
                loss = loss + ((row[0] - 1000) ** 2 + 0.1 * sum(v**2 for v in row[1:]) / (len(row) - 1)) / len(f)
            (gradient,) = torch.autograd.grad(loss, delta)
            delta = delta.detach() - config.step_normalized * gradient.sign()
            delta = delta.clamp(-config.eps_normalized, config.eps_normalized)
            delta = torch.clamp(x + delta, low, high) - x
        done.append((x + delta).detach())
    return torch.cat(done)


@pytest.mark.parametrize("clip", ["published", "valid"])
def test_the_attack_is_the_published_one(net: nn.Module, images: Tensor, clip: str) -> None:
    config = AttackConfig(clip=clip, steps=12, batch_size=4)
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    low, high = (
        (-mean / std, (1 - mean) / std)
        if clip == "valid"
        else (torch.full((3, 1, 1), -2.2), torch.full((3, 1, 1), 2.2))
    )
    got = attack(net, images, config, MEAN, STD, seed=5)
    wanted = by_hand(net, images, config, 5, low, high)
    assert torch.allclose(got, wanted, atol=1e-6, rtol=0)
    assert not torch.allclose(by_hand(net, images, config, 6, low, high), wanted, atol=1e-3)  # the comparison can fail


def test_the_loss_by_hand() -> None:
    features = torch.tensor([[1.0, 2.0, 4.0], [0.0, 0.0, 0.0]])
    wanted = ((999.0**2 + 0.1 * (4 + 16) / 2) + 1000.0**2) / 2
    assert float(feature_loss(features)) == pytest.approx(wanted, rel=1e-7)


def test_the_attack_lowers_its_loss_more_than_noise_does(net: nn.Module, images: Tensor) -> None:
    config = AttackConfig(steps=10)
    adversarial, noisy = attack(net, images, config, MEAN, STD, 0), random_noise(images, config, MEAN, STD, 0)
    before, attacked, disturbed = (float(feature_loss(net.features(x).detach())) for x in (images, adversarial, noisy))
    assert attacked < min(before, disturbed)


def test_budget_and_clip_hold(net: nn.Module, images: Tensor) -> None:
    config = AttackConfig(clip="valid", steps=5)
    for changed in (attack(net, images, config, MEAN, STD, 0), random_noise(images, config, MEAN, STD, 0)):
        assert float((changed - images).abs().max()) <= 0.1 + 1e-6
        pixels = changed * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
        assert float(pixels.min()) >= -1e-6
        assert float(pixels.max()) <= 1 + 1e-6


def test_the_published_clip_caps_at_2_2_and_says_so(net: nn.Module, images: Tensor) -> None:
    config = AttackConfig(steps=2)
    adversarial = attack(net, images, config, MEAN, STD, 0)
    assert float(images.max()) > 3.4  # a saturated red: (1 - 0.3) / 0.2
    assert float(adversarial.max()) <= 2.2 + 1e-6
    with pytest.warns(SuspectResultWarning, match="beyond the budget"):
        about = describe_attack([(images[:3], adversarial[:3]), (images[3:], adversarial[3:])], config, MEAN, STD, 0)
    assert about["share_values_beyond_eps"] > 0


def test_seeded_and_without_traces(net: nn.Module, images: Tensor) -> None:
    config = AttackConfig(steps=3)
    net.train()
    weights = {k: v.clone() for k, v in net.state_dict().items()}
    torch.manual_seed(9)
    state = torch.get_rng_state()
    first = attack(net, images, config, MEAN, STD, 1)
    assert torch.equal(state, torch.get_rng_state())
    assert net.training
    assert all(torch.equal(weights[k], v) for k, v in net.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    torch.rand(100)
    assert torch.equal(first, attack(net, images, config, MEAN, STD, 1))
    assert not torch.equal(first, attack(net, images, config, MEAN, STD, 2))


def test_features_are_what_the_last_layer_receives(net: nn.Module, images: Tensor) -> None:
    assert torch.equal(PenultimateFeatures(net, images[:1])(images), net.features(images))
    fully_convolutional = nn.Sequential(net.conv, nn.ReLU(), nn.Conv2d(6, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    features = PenultimateFeatures(fully_convolutional, images[:1])(images)
    assert torch.allclose(features, net.conv(images).relu().mean((2, 3)), atol=1e-6)
    tokens = nn.Sequential(nn.Flatten(2), nn.Linear(64, 5))  # 3 positions of 64 features
    assert torch.allclose(PenultimateFeatures(tokens, images[:1])(images), images.flatten(2).mean(1), atol=1e-6)


def test_the_last_executed_layer_counts_not_the_last_defined(net: nn.Module, images: Tensor) -> None:
    class Shuffled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classifier = nn.Linear(6, 4)
            self.unused = nn.Linear(9, 9)
            self.body = net

        def forward(self, x: Tensor) -> Tensor:
            return self.classifier(self.body.features(x))

    assert torch.equal(PenultimateFeatures(Shuffled(), images[:1])(images), net.features(images))


def test_doubtful_attacks_are_named(net: nn.Module, images: Tensor) -> None:
    config = AttackConfig(steps=2)
    dead = Net().eval()
    dead.conv.weight.data.zero_()
    with pytest.warns(SuspectResultWarning, match="all gradients zero"):
        attack(dead, images, config, MEAN, STD, 0)
    half_dead = Net().eval()
    half_dead.conv.weight.data[0] = 0
    with pytest.warns(SuspectResultWarning, match="feature 0 is dead"):
        attack(half_dead, images, config, MEAN, STD, 0)
    narrow = nn.Sequential(nn.Conv2d(3, 1, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
    with pytest.warns(SuspectResultWarning, match="1 penultimate feature"):
        assert attack(narrow, images, config, MEAN, STD, 0).isfinite().all()
    with warnings.catch_warnings():
        warnings.simplefilter("error", SuspectResultWarning)
        attack(net, images, config, MEAN, STD, 0)
    with pytest.raises(SourceError, match="none executed"):
        PenultimateFeatures(nn.Flatten(), images[:1])


def test_everything_about_the_attack_is_stated_in_both_spaces(images: Tensor) -> None:
    config = AttackConfig(clip="valid")
    adversarial = images.clone()
    adversarial[1, 2, 3, 4] += 0.06
    adversarial[2, 0, 0, 0] -= 0.03
    about = json.loads(
        json.dumps(
            describe_attack([(images[:3], adversarial[:3]), (images[3:], adversarial[3:])], config, MEAN, STD, 11),
            allow_nan=False,
        )
    )
    assert about["eps_normalized"] == 0.1
    assert about["eps_pixel"] == pytest.approx([0.02, 0.025, 0.03])
    assert about["step_pixel"] == pytest.approx([0.002, 0.0025, 0.003])
    assert about["clip_normalized"][0] == pytest.approx([-1.5, 3.5])
    assert about["clip_pixel"] == [pytest.approx([0, 1], abs=1e-6)] * 3
    assert about["share_images_changed"] == pytest.approx(2 / 7)
    assert about["mean_abs_delta_normalized"] == pytest.approx(0.09 / (7 * 3 * 64), rel=1e-4)
    assert about["mean_abs_delta_pixel"] == pytest.approx([0.03 * 0.2 / 448, 0, 0.06 * 0.3 / 448], rel=1e-4)
    assert (about["seed"], about["num_images"], about["steps"], about["advertorch_version"]) == (11, 7, 40, "0.2.3")


def test_defect_inheritance_by_hand() -> None:
    labels = torch.tensor([0, 1, 2, 0, 1])
    clean = torch.tensor([0, 1, 2, 0, 2])  # the first four are correct
    attacked = torch.tensor([0, 2, 2, 1, 1])  # of those, the second and fourth fail; the fifth is healed
    result = defect_inheritance(clean, attacked, labels)
    assert result.accuracy == 0.8
    assert result.robust_accuracy == 0.6
    assert result.defect_inheritance_rate == 0.5


def test_no_correct_image_leaves_the_rate_undefined() -> None:
    ones, zeros = torch.ones(3, dtype=torch.long), torch.zeros(3, dtype=torch.long)
    with pytest.warns(SuspectResultWarning, match="rate is undefined"):
        result = defect_inheritance(ones, zeros, zeros)
    assert (result.accuracy, result.robust_accuracy, result.defect_inheritance_rate) == (0.0, 1.0, None)
