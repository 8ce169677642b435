"""The mask that is drawn by chance."""

from __future__ import annotations

import torch
from torch import nn

from seam.methods.protocol import StartingPoint, Target
from tests.seam.methods.small import CONFIG, begin


def test_another_seed_draws_another_mask(source: nn.Module, target: Target, begun: dict[str, StartingPoint]) -> None:
    other = begin("random_mask", source, target, CONFIG, 2).masks
    assert all(not torch.equal(mask, other[name]) for name, mask in begun["random_mask"].masks.items())
