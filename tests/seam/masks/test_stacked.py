"""Scores of several copies of a network as one against the same scores by themselves."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call

from seam.masks.scores import Scores, backward, densities_of, density_of, refresh
from seam.masks.stacked import stacked_scores
from tests.seam.masks.block import seeded_block
from tests.seam.masks.test_scores import COSTS, KINDS

COUNT = 3


def _drawn(kind: str) -> list[Scores]:
    found = [KINDS[kind](seeded_block()) for _ in range(COUNT)]
    for seed, scored in enumerate(found):
        generator = torch.Generator().manual_seed(seed)
        scored.scores.copy_(torch.rand(scored.scores.shape, generator=generator))
    return found


@pytest.fixture(params=KINDS)
def alone(request: pytest.FixtureRequest) -> list[Scores]:
    return _drawn(request.param)


@pytest.fixture
def stack(request: pytest.FixtureRequest) -> Scores:
    return stacked_scores(_drawn(request.node.callspec.params["alone"]))


def _same_masks(stack: Scores, alone: list[Scores]) -> None:
    assert torch.equal(stack.mask(), torch.stack([scored.mask() for scored in alone]))


@pytest.mark.parametrize("with_costs", [False, True])
def test_each_mask_is_the_one_it_has_alone(stack: Scores, alone: list[Scores], with_costs: bool) -> None:
    costs = alone[0].effective.spread(COSTS) if with_costs else None
    for budget in (1.0, 0.6, 0.3, 1e-6):
        stack.keep(budget, None if costs is None else costs.repeat(COUNT, 1))
        for scored in alone:
            scored.keep(budget, costs)
        _same_masks(stack, alone)
        assert densities_of(stack).tolist() == pytest.approx([density_of(scored) for scored in alone])
    assert not torch.equal(alone[0].mask(), alone[1].mask()), "the masks differ, or the test says nothing"
    for threshold in (0.4, 2.0):
        stack.keep_above(threshold)
        for scored in alone:
            scored.keep_above(threshold)
        _same_masks(stack, alone)


def test_each_signal_is_the_one_it_has_alone(stack: Scores, alone: list[Scores]) -> None:
    images = torch.randn(COUNT, 2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    for scored in (stack, *alone):
        scored.keep(0.6)
        refresh(scored)
    leaf = stack.effective.leaf()
    for i, (scored, own) in enumerate(zip(alone, images, strict=True)):
        functional_call(seeded_block(), scored.effective.by_name, (own,)).square().sum().backward()
        backward(scored, 0.25)
        of_one = stack.effective.split(leaf[i])
        functional_call(seeded_block(), of_one, (own,)).square().sum().backward()
    backward(stack, 0.25)
    assert stack.scores.grad is not None
    torch.testing.assert_close(
        stack.scores.grad, torch.stack([s.scores.grad for s in alone if s.scores.grad is not None])
    )
    assert stack.signal().any()


def test_members_see_their_scores_move() -> None:
    members = _drawn("weights")
    stack = stacked_scores(members)
    stack.scores += 1
    for own, before, now in zip(members, _drawn("weights"), stack.scores, strict=True):
        assert torch.equal(own.scores, before.scores + 1) and torch.equal(own.scores, now)


def test_costs_of_scores_are_those_of_each(stack: Scores, alone: list[Scores]) -> None:
    costs = torch.stack([alone[0].effective.spread(COSTS) * (1 + i) for i in range(COUNT)])
    found, each = stack.score_costs(costs), [own.score_costs(c) for own, c in zip(alone, costs, strict=True)]
    assert found is not None
    torch.testing.assert_close(found, torch.stack([c for c in each if c is not None]))
    uniform, of_one = stack.score_costs(None), alone[0].score_costs(None)
    assert (uniform is None) == (of_one is None)
