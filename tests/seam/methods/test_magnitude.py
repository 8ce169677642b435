"""The mask of the largest weights."""

from __future__ import annotations

import torch
from torch import nn

from seam.methods.protocol import StartingPoint, Target
from seam.networks.head import Reengineered
from tests.seam.methods.small import CONFIG, begin


def test_no_weight_that_is_removed_is_larger_than_one_that_is_kept(
    source: nn.Module, begun: dict[str, StartingPoint]
) -> None:
    sizes = {name: source.get_parameter(name).detach().abs() for name in begun["magnitude"].masks}
    removed, kept = (
        torch.cat([sizes[name][mask == flag] for name, mask in begun["magnitude"].masks.items()])
        for flag in (False, True)
    )
    assert len(removed) > 1000 and removed.max() <= kept.min()


def test_the_seed_is_of_the_classifier_alone(
    source: nn.Module, target: Target, begun: dict[str, StartingPoint]
) -> None:
    other = begin("magnitude", source, target, CONFIG, 2)
    assert all(torch.equal(mask, other.masks[name]) for name, mask in begun["magnitude"].masks.items())
    assert not isinstance(other.student, Reengineered)
