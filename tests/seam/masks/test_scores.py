"""Scores over weights and scores over channels: each honours all of what a search asks of scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.func import functional_call

from seam.configs.runtime import RuntimeConfig
from seam.configs.search import SearchConfig
from seam.masks.channels import ScoredChannels
from seam.masks.groups import channel_groups
from seam.masks.masks import maskable
from seam.masks.scores import Scores, backward, density_of, masks_of, refresh
from seam.masks.weights import ScoredWeights
from seam.measures.macs import weight_macs
from seam.networks.source import Preprocess
from seam.runtime import start
from seam.search.dynamics import Drift, dynamics_of
from seam.search.images import search_images
from seam.search.loop import SearchLoop
from seam.search.objective import CrossEntropy
from seam.search.stop import after
from tests.seam.left_or_right import left_or_right
from tests.seam.masks.block import IMAGES, Block, seeded_block

KINDS: dict[str, Callable[[Block], Scores]] = {
    "weights": ScoredWeights,
    "channels": lambda network: ScoredChannels(network, channel_groups(network, IMAGES)),
    "blocks of channels": lambda network: ScoredChannels(network, channel_groups(network, IMAGES), block=2),
}
COSTS = weight_macs(seeded_block(), IMAGES[:1])


@pytest.fixture(params=KINDS)
def scored(request: pytest.FixtureRequest) -> Scores:
    return KINDS[request.param](seeded_block())


def _draw(scored: Scores) -> None:
    with torch.no_grad():
        scored.scores.copy_(torch.rand(scored.scores.shape, generator=torch.Generator().manual_seed(1)))


def test_everything_is_kept_at_first_and_the_network_is_as_it_was(scored: Scores) -> None:
    assert isinstance(scored, Scores)
    assert density_of(scored) == 1 and (scored.scores == 1).all()
    assert scored.scores.grad is not None and scored.scores.grad.shape == scored.scores.shape
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(functional_call(seeded_block(), scored.effective.by_name, (images,)), seeded_block()(images))


@pytest.mark.parametrize("by_cost", [False, True])
def test_a_budget_is_spent_and_not_overdrawn(scored: Scores, by_cost: bool) -> None:
    _draw(scored)
    costs = scored.effective.spread(COSTS) if by_cost else None
    of_weights = torch.ones_like(scored.effective.weights) if costs is None else costs
    spent = []
    for budget in (1.0, 0.7, 0.4):
        scored.keep(budget, costs)
        spent.append(float((of_weights * scored.mask()).sum() / of_weights.sum()))
        assert spent[-1] <= budget + 1e-6
    assert spent[0] == 1 > spent[1] > spent[2] > 0


def test_what_scores_above_a_threshold_is_kept(scored: Scores) -> None:
    _draw(scored)
    kept = []
    for threshold in (-1.0, 0.5, 2.0):
        scored.keep_above(threshold)
        kept.append(density_of(scored))
    assert kept[0] == 1 > kept[1] > kept[2] >= 0
    with torch.no_grad():
        scored.scores.copy_(1 - scored.scores)
    scored.keep_above(0.5)
    assert 0 < density_of(scored) < 1


def test_effective_weights_are_weights_times_mask(scored: Scores) -> None:
    _draw(scored)
    scored.effective.gradient.fill_(1.0)
    scored.keep(0.5)
    refresh(scored)
    masks = masks_of(scored)
    for name, weight in maskable(seeded_block()).items():
        assert torch.equal(scored.effective.by_name[name], weight * masks[name])
    assert not scored.effective.gradient.any()
    kept = sum(int(m.sum()) for m in masks.values())
    assert density_of(scored) == pytest.approx(kept / len(scored.effective))


def test_the_gradient_of_a_score_is_its_signal_and_the_drift(scored: Scores) -> None:
    refresh(scored)
    functional_call(seeded_block(), scored.effective.by_name, (torch.randn(4, 3, 8, 8),)).square().sum().backward()
    signal = scored.signal()
    assert signal.shape == scored.scores.shape and signal.any()
    drifts = torch.arange(float(len(signal)))
    for drift in (0.25, drifts):
        backward(scored, drift)
        assert torch.equal(scored.scores.grad, signal + drift)


def test_costs_of_scores_are_what_goes_with_them(scored: Scores) -> None:
    """The best score of each layer stays in a mask over channels, so a lone score is compared with none."""
    costs = scored.effective.spread(COSTS)
    of_scores = scored.score_costs(costs)
    assert of_scores is not None and of_scores.shape == scored.scores.shape
    assert of_scores.min() >= 0 and of_scores.max() <= costs.sum() * (1 + 1e-6)
    uniform = scored.score_costs(None)
    if uniform is not None:
        torch.testing.assert_close(uniform, scored.score_costs(torch.ones_like(costs)))


def test_either_moves_along_either_dynamics(scored: Scores) -> None:
    """With a cost term alone every score falls, and what it stands for goes; with a budget, as much as is to go."""
    runtime = start(RuntimeConfig(device="cpu", precision="fp32", threads=1), pixels=64)
    config = SearchConfig(method="drift", alpha=1e6, lr_scores=0.6, batch_size=32, max_rounds=1, augment="none")
    network = seeded_block().requires_grad_(False)
    images = search_images(
        left_or_right(0), left_or_right(1), Preprocess((0.3,) * 3, (0.3,) * 3), config, runtime, seed=0
    )
    for numbers in (config, replace(config, method="budget", target=0.4, lr_scores=0.01)):
        with torch.no_grad():
            scored.scores.fill_(1.0)
        objective = CrossEntropy(network, scored, torch.nn.Linear(5, 2), [], runtime)
        dynamics = dynamics_of(numbers, objective, images)
        loop = SearchLoop(objective, dynamics, after(1), images, numbers, runtime)
        loop.run()
        if isinstance(dynamics, Drift):
            assert (scored.scores < 0).all()
            assert loop.rounds[0].density < 0.35
        else:
            assert 0.2 < loop.rounds[0].density <= 0.4 + 1e-6
