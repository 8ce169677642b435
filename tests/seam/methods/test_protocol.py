"""What methods share: which layers masks are over, and how scores become a mask."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seam.errors import MaskError
from seam.methods.protocol import Target, convolutions, fresh_student, keep_highest
from tests.seam.methods.small import Squeezed


def test_masks_are_over_the_convolutions_under_the_networks_names(source: nn.Module, target: Target) -> None:
    learner = fresh_student(source, target, 0)
    tree = convolutions(learner)
    wanted = ["conv1.weight", "conv1.bias", "conv2.weight", "conv3.weight", "conv4.weight"]
    assert [name for name, _ in tree.named_parameters()] == wanted
    assert all(tree.get_parameter(name) is learner.network.get_parameter(name) for name in wanted)
    nested = fresh_student(Squeezed(), target, 0)
    assert [name for name, _ in convolutions(nested).named_parameters()] == [
        "0.0.weight",
        "0.0.bias",
        "0.3.weight",
        "0.3.bias",
    ]


def test_the_highest_scores_are_kept_and_of_equal_ones_the_first() -> None:
    masks = keep_highest({"a": torch.tensor([[0.5, 0.1]]), "b": torch.tensor([0.1, 0.9, 0.1])}, 0.4)
    assert {k: m.tolist() for k, m in masks.items()} == {"a": [[True, True]], "b": [False, True, False]}
    with pytest.raises(MaskError, match="NaN"):
        keep_highest({"a": torch.tensor([float("nan")])}, 0.5)
    with pytest.raises(MaskError, match=r"\[0, 1\], got 1.5"):
        keep_highest({"a": torch.ones(2)}, 1.5)
