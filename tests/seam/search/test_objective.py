"""Objectives: what a loop descends is exchangeable, and the loop knows nothing of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from seam.configs.runtime import RuntimeConfig
from seam.configs.search import SearchConfig
from seam.masks.scores import Scores, masks_of
from seam.masks.weights import ScoredWeights
from seam.networks.source import Preprocess
from seam.runtime import start
from seam.search.dynamics import dynamics_of
from seam.search.images import search_images
from seam.search.loop import SearchLoop
from seam.search.objective import CrossEntropy, learnt, put_back
from seam.search.stop import stop_of
from tests.seam.left_or_right import left_or_right

RUNTIME = start(RuntimeConfig(device="cpu", precision="fp32", threads=1), pixels=64)
CONFIG = SearchConfig(target=0.1, batch_size=16, max_rounds=16, augment="none", norm_layers="frozen", lr_scores=0.05)
DRIFT = replace(CONFIG, method="drift", alpha=0.5, patience=0, lr_scores=0.1)


@dataclass(frozen=True)
class Joint:
    """Two modules, each a mask over its copy of one network with a score of its class, and one joint cross-entropy."""

    network: nn.ModuleList
    scored: Scores
    head: nn.ModuleList
    norms: Sequence[Tensor] = field(default_factory=list)

    def descend(self, images: Tensor, labels: Tensor) -> Tensor:
        """Every module learns from what the others say."""
        loss = F.cross_entropy(self.logits(images), labels)
        loss.backward()
        return loss.detach()

    def logits(self, images: Tensor) -> Tensor:
        """Column c: what the module of class c says."""
        weights = self.scored.effective.by_name
        columns = []
        for number, (network, head) in enumerate(zip(self.network, self.head, strict=True)):
            own = {k.removeprefix(f"{number}."): w for k, w in weights.items() if k.startswith(f"{number}.")}
            columns.append(head(functional_call(network, own, (images,)).relu()))
        return torch.cat(columns, dim=1)


def _network() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 5))
    return nn.Sequential(*layers).eval().requires_grad_(False)


def _joint() -> Joint:
    both = nn.ModuleList([_network(), _network()])
    return Joint(both, ScoredWeights(both), nn.ModuleList([nn.Linear(5, 1), nn.Linear(5, 1)]))


def _loop(objective: Joint, config: SearchConfig) -> SearchLoop:
    preprocess = Preprocess((0.3,) * 3, (0.3,) * 3)
    images = search_images(left_or_right(0), left_or_right(1), preprocess, config, RUNTIME, 0)
    return SearchLoop(objective, dynamics_of(config, objective, images), stop_of(config), images, config, RUNTIME)


@pytest.mark.parametrize("config", [CONFIG, DRIFT], ids=["budget", "drift"])
def test_modules_of_one_joint_loss_are_searched_by_the_same_loop(config: SearchConfig) -> None:
    objective = _joint()
    loop = _loop(objective, config)
    loop.run()
    assert len(loop.rounds) == config.max_rounds
    assert loop.rounds[-1].cross_entropy < 0.8 * loop.rounds[0].cross_entropy
    assert loop.rounds[-1].val_accuracy >= 0.95
    assert loop.rounds[-1].density < 0.5
    masks = masks_of(objective.scored)
    first, second = (masks[f"{number}.0.weight"] for number in (0, 1))
    assert first.any() and second.any()
    assert not torch.equal(first, second), "the modules of two classes keep different weights"


def test_a_joint_search_continues_where_it_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seam.checkpoint.SAVE_SECONDS", 0.0)
    loop = _loop(_joint(), CONFIG)
    loop.resume(tmp_path / "state")
    for _ in range(5):
        loop.next_round()
    loop.save(tmp_path / "state")
    whole, resumed = _loop(_joint(), CONFIG), _loop(_joint(), CONFIG)
    whole.run()
    seen: list[int] = []
    resumed.run(tmp_path / "state", lambda found: seen.append(found.round))
    assert seen[0] == 5
    assert resumed.rounds == whole.rounds
    assert torch.equal(resumed.objective.scored.scores, whole.objective.scored.scores)


def test_a_head_may_be_inside_the_network_or_after_it() -> None:
    """The same layer at either place: the same loss and the same gradients."""
    torch.manual_seed(1)
    images, labels, last = torch.randn(6, 3, 8, 8), torch.arange(6) % 4, nn.Linear(5, 4)
    whole = nn.Sequential(_network(), last)
    masked = nn.ModuleDict({"0": _network()})  # the same names, without the last layer
    inside = CrossEntropy(whole, ScoredWeights(masked), last, [], RUNTIME, head_inside=True)
    after = CrossEntropy(whole[0], ScoredWeights(whole[0]), last, [], RUNTIME)
    losses, gradients = [], []
    for objective in (inside, after):
        last.zero_grad()
        losses.append(objective.descend(images, labels))
        assert last.weight.grad is not None
        gradients.append((objective.scored.effective.gradient.clone(), last.weight.grad.clone()))
        assert torch.equal(objective.logits(images), whole(images))
    expected = F.cross_entropy(whole(images), labels)
    assert torch.equal(losses[0], losses[1]) and torch.equal(losses[0], expected.detach())
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_what_was_learnt_is_put_back() -> None:
    objective = _joint()
    before = learnt(objective)
    with torch.no_grad():
        objective.scored.scores.mul_(-1)
        objective.head.get_parameter("1.bias").add_(1)
    assert any(not torch.equal(v, before[k]) for k, v in learnt(objective).items())
    put_back(objective, before)
    assert all(torch.equal(v, before[k]) for k, v in learnt(objective).items())
