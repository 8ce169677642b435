"""Retraining from scratch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from seam.errors import SourceError
from seam.methods.catalogue import find
from seam.methods.protocol import Target
from tests.seam.methods.small import CONFIG, begin


def test_retraining_keeps_nothing_of_the_source(source: nn.Module, target: Target) -> None:
    start = begin("retrain", source, target, CONFIG)
    fresh = start.student.network
    assert start.masks is None and find("retrain").training_of(CONFIG) is CONFIG.retrain
    assert all(
        not torch.equal(p, source.get_parameter(name)) for name, p in fresh.named_parameters() if "fc" not in name
    )
    assert torch.equal(fresh.bn1.running_mean, torch.zeros(12)) and torch.equal(fresh.bn1.weight, torch.ones(12))
    assert torch.equal(fresh.conv1.bias, torch.zeros(12))
    assert float(fresh.conv2.weight.detach().std()) == pytest.approx((2 / (12 * 9)) ** 0.5, rel=0.1)


def test_what_cannot_be_drawn_anew_is_one_clear_line(target: Target) -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.ones(1))
            self.fc = nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x.mean((2, 3)) + self.shift)

    with pytest.raises(SourceError, match="its own 'shift'"):
        begin("retrain", Shifted(), target, CONFIG)
    with pytest.raises(SourceError, match="expected convolutions before the classifier"):
        begin("seam", Shifted(), target, CONFIG)
