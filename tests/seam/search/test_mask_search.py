"""The mask search on a network small enough to know what it must find."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from seam.configs.search import SearchConfig
from seam.errors import SearchError
from seam.masks.masks import apply_masks
from seam.masks.scores import refresh
from seam.measures.macs import weight_macs
from seam.networks.head import Reengineered
from seam.networks.norms import norm_tensors, put_norm_tensors
from seam.networks.predict import accuracy, predict
from seam.search.dynamics import Budget, Drift
from tests.seam.search.needle import CONFIG, DRIFT, WEIGHTS, needle, search

MACS = {"conv.weight": 64.0, "fc.weight": 1.0}


@pytest.mark.parametrize("config", [CONFIG, DRIFT], ids=["budget", "drift"])
def test_search_removes_most_weights_and_keeps_the_accuracy(config: SearchConfig) -> None:
    result = search(config).run()
    assert result.met_floor
    assert result.best.density < 0.35
    assert result.best.val_accuracy >= 0.9
    assert result.rounds[0].density > result.best.density


def test_the_source_is_left_as_it_was() -> None:
    network = needle().network
    before = {k: v.clone() for k, v in network.state_dict().items()}
    search(replace(CONFIG, max_rounds=3), network=network).run()
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_merged_network_equals_the_masked_one() -> None:
    problem, masked = needle(), search(replace(CONFIG, max_rounds=30))
    result = masked.run()
    refresh(masked.objective.scored)
    of_masked = predict(masked.objective.logits, problem.val, problem.preprocess)
    apply_masks(problem.network, result.masks)
    put_norm_tensors(problem.network, result.norms)
    of_merged = predict(Reengineered(problem.network, result.head), problem.val, problem.preprocess)
    assert torch.equal(of_masked, of_merged)
    assert accuracy(of_merged, problem.val.labels) == result.best.val_accuracy


def test_frozen_norm_layers_stay_as_they_are_and_learning_ones_do_not() -> None:
    before = norm_tensors(needle().network)
    frozen = search(replace(CONFIG, max_rounds=3, norm_layers="frozen")).run()
    learnt = search(replace(CONFIG, max_rounds=3)).run()
    assert all(torch.equal(frozen.norms[k], before[k]) for k in before)
    assert all(not torch.equal(learnt.norms[k], before[k]) for k in before)


def test_all_ones_mask_leaves_the_logits_bit_identical() -> None:
    problem = needle()
    images = problem.preprocess(problem.train.images)
    assert torch.equal(search().objective.network_logits(images), problem.network(images))


def test_same_seed_same_mask_other_seed_other_mask() -> None:
    first, second, other = (search(DRIFT, seed).run() for seed in (3, 3, 4))
    assert all(torch.equal(first.masks[k], second.masks[k]) for k in first.masks)
    assert first.rounds == second.rounds
    assert any(not torch.equal(first.masks[k], other.masks[k]) for k in first.masks)


def test_alpha_zero_feels_no_pull_towards_fewer_weights() -> None:
    for alpha in (0.0, 2.0):
        dynamics = search(replace(DRIFT, alpha=alpha)).loop.dynamics
        assert isinstance(dynamics, Drift)
        assert dynamics._drift == alpha / WEIGHTS


def test_cost_by_macs_keeps_that_share_of_the_macs() -> None:
    assert weight_macs(needle().network, torch.zeros(1, 3, 8, 8)) == MACS
    config = replace(CONFIG, cost="macs", target=0.25, accuracy_floor=0.0, max_rounds=3)
    result = search(config, weight_macs=MACS).run()
    kept = 64 * int(result.masks["conv.weight"].sum()) + int(result.masks["fc.weight"].sum())
    assert 0.23 < kept / (64 * 8 * 27 + 48) <= 0.25
    drift = search(replace(DRIFT, cost="macs"), weight_macs=MACS).loop.dynamics
    assert isinstance(drift, Drift)
    assert float(torch.as_tensor(drift._drift).sum()) == pytest.approx(1.0)


def test_weights_whose_macs_are_not_counted_are_named() -> None:
    config = replace(CONFIG, cost="macs")
    with pytest.raises(SearchError, match=r"multiply-adds of fc\.weight are not counted"):
        search(config, weight_macs={**MACS, "fc.weight": 0.0})
    with pytest.raises(SearchError, match="expected the multiply-adds of every weight, got none"):
        search(config)


def test_the_budget_falls_to_the_target_and_stays() -> None:
    loop = search(replace(CONFIG, ramp=0.5)).loop
    assert isinstance(loop.dynamics, Budget)
    budgets = [loop.dynamics.budget(i * loop.images.steps) for i in range(41)]
    assert budgets[0] == 1 and budgets == sorted(budgets, reverse=True)
    assert budgets[20:] == [CONFIG.target] * 21


def test_published_quirks_are_options() -> None:
    quirks = replace(
        DRIFT, head_only_every=5, head_start="random", lr_head=0.1, adam_eps=1e-8, patience=0, max_rounds=6
    )
    odd = search(quirks)
    assert not torch.equal(odd.objective.head.get_parameter("linear.weight"), odd.head_only.linear.weight)
    densities = [r.density for r in odd.run().rounds]
    assert densities[0] == 1.0 and densities[5] == densities[4]  # rounds 0 and 5 teach the head alone


def test_nan_weights_are_one_clear_line() -> None:
    network = needle().network
    with torch.no_grad():
        network.get_parameter("fc.weight")[0, 0] = float("nan")
    with pytest.raises(SearchError, match="NaN or infinite"):
        search(network=network)
