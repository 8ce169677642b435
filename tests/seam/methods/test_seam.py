"""SeaM's search of the weights that a target needs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from seam.configs.search import TransferSearchConfig
from seam.methods.protocol import StartingPoint, Target
from seam.networks.predict import accuracy, predict
from seam.networks.student import fit_classifier
from tests.seam.methods.small import CONFIG, CONVOLUTIONS, SEARCH, begin


def test_the_search_finds_what_other_masks_miss(source: nn.Module, target: Target) -> None:
    """With 2% of the weights left, and a fitted classifier behind each mask."""
    config = replace(CONFIG, removal=0.98, search=replace(SEARCH, rounds=15, batch_size=16, lr_head=0.01))
    rounds = begin("seam", source, target, config).rounds
    assert len(rounds) == 15 and rounds[-1].density == pytest.approx(0.02, abs=1e-3)
    others = [begin(name, source, target, config).student for name in ("random_mask", "magnitude")]
    for learner in others:
        fit_classifier(learner, target.preprocess, target.train)
    reached = [accuracy(predict(learner, target.val, target.preprocess), target.val.labels) for learner in others]
    assert rounds[-1].val_accuracy > max(reached) + 0.2


def test_drift_stops_when_enough_is_removed_and_is_cut_back_to_the_target(source: nn.Module, target: Target) -> None:
    search = TransferSearchConfig(method="drift", rounds=60, batch_size=16, augment="none", lr_scores=0.1, alpha=5.0)
    start = begin("seam", source, target, replace(CONFIG, removal=0.3, search=search))
    removed = [1 - r.density for r in start.rounds]
    assert len(removed) < 60 and removed[-1] >= 0.3 and all(r < 0.3 for r in removed[:-1])
    assert sum(int(m.sum()) for m in start.masks.values()) == round(0.7 * CONVOLUTIONS)


def test_learnt_normalisation_goes_with_the_mask(source: nn.Module, target: Target) -> None:
    frozen = begin("seam", source, target, CONFIG).student.network
    learning = replace(CONFIG, search=replace(SEARCH, norm_layers="learn"))
    learnt = begin("seam", source, target, learning).student.network
    for name in ("bn1.weight", "bn1.bias", "bn3.running_mean"):
        assert torch.equal(frozen.state_dict()[name], source.state_dict()[name])
        assert not torch.equal(learnt.state_dict()[name], source.state_dict()[name])


def test_another_seed_searches_another_mask(source: nn.Module, target: Target, begun: dict[str, StartingPoint]) -> None:
    other = begin("seam", source, target, CONFIG, 2).masks
    assert any(not torch.equal(mask, other[name]) for name, mask in begun["seam"].masks.items())
