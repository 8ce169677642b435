"""Scores of several copies of one network as one: their tensors have a first dimension for the copies, the stack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from seam.masks.effective import EffectiveWeights
from seam.masks.scores import Scores
from seam.masks.weights import ScoredWeights


def stacked_scores(members: Sequence[Scores]) -> Scores:
    """The scores of all, and masks and signals of all at once; each of `members` sees its scores move.

    Args:
        members: of one kind, over copies of one network.
    """
    if all(isinstance(own, ScoredWeights) for own in members):
        made: Scores = ScoredWeights.stacked([cast(ScoredWeights, own) for own in members])
    else:
        made = _InTurn(members)
    put_rows([own.scores for own in members], made.scores)
    return made


def put_rows(members: Sequence[Tensor], stack: Shaped[Tensor, "stack ..."]) -> None:
    """Let each of these tensors be a row of `stack` from now on, in the same memory."""
    for own, row in zip(members, stack.detach().unbind(), strict=True):
        own.data = row


class _InTurn:
    """Scores of any kind, whose masks and signals are made one after the other."""

    def __init__(self, members: Sequence[Scores]) -> None:
        self._members = members
        self.effective = EffectiveWeights.stacked([own.effective for own in members])
        self.scores: Float[Tensor, "stack scores"] = torch.stack([own.scores for own in members])
        self.scores.grad = torch.zeros_like(self.scores)

    def mask(self) -> Bool[Tensor, "stack weights"]:
        return torch.stack([own.mask() for own in self._members])

    def keep(self, budget: float, costs: Float[Tensor, "stack weights"] | None = None) -> None:
        for i, own in enumerate(self._members):
            own.keep(budget, None if costs is None else costs[i])

    def keep_above(self, threshold: float) -> None:
        for own in self._members:
            own.keep_above(threshold)

    def signal(self) -> Float[Tensor, "stack scores"]:
        for own, gradient in zip(self._members, self.effective.gradient.unbind(), strict=True):
            own.effective.gradient.copy_(gradient)
        return torch.stack([own.signal() for own in self._members])

    def score_costs(self, costs: Float[Tensor, "stack weights"] | None) -> Float[Tensor, "stack scores"] | None:
        each = [own.score_costs(None if costs is None else costs[i]) for i, own in enumerate(self._members)]
        found = [own for own in each if own is not None]
        return torch.stack(found) if found else None
