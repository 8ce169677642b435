"""What a student that keeps the features would inherit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seam.configs.defects import AttackConfig
from seam.measures.transferability.exposure import exposure
from seam.measures.transferability.probe import fit
from seam.measures.transferability.seen import look

ATTACK = AttackConfig(steps=10, step_normalized=0.025)


class Means(nn.Module):
    """Its features are the channels' means, times a gain, or their signs, which no small change moves."""

    def __init__(self, gain: float, signs: bool = False) -> None:
        super().__init__()
        self.gain, self.signs = gain, signs
        self.linear = nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        means = self.gain * x.mean((2, 3))
        scores: Tensor = self.linear(means.sign() if self.signs else means)
        return scores


def exposed(network: nn.Module, apart: float, channels: int = 3) -> float | None:
    """Two classes whose first channel is `apart` above or below 0."""
    labels = torch.arange(80) % 2
    images = 0.01 * torch.randn(80, channels, 8, 8, generator=torch.Generator().manual_seed(0))
    images[:, 0] += (apart * (2 * labels - 1)).view(-1, 1, 1)
    seen = look(network.eval(), images[:, :3].expand(-1, 3, -1, -1), nn.Identity())
    (student,) = fit(seen.features[:40].double(), labels[:40], 2, (0.01,)).values()
    return exposure(network, images[40:], labels[40:], student, ATTACK, 0)


def test_what_the_attack_reaches_is_exposed_and_what_it_cannot_is_not() -> None:
    torch.manual_seed(0)
    assert exposed(Means(1.0), apart=0.03) == 0.5  # feature 0 is pushed up: those of class 0 cross over
    assert exposed(Means(1.0), apart=0.5) == 0.0  # further apart than the budget
    assert exposed(Means(1.0, signs=True), apart=0.2) == 0.0


def test_images_that_the_attack_does_not_take_are_not_measured() -> None:
    torch.manual_seed(0)
    assert exposed(Means(1.0), apart=0.5, channels=1) is None
