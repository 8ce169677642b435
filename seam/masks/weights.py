"""A score for every single weight."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from seam.masks.effective import EffectiveWeights


class ScoredWeights:
    """Frozen weights, each with a real score; the mask keeps the weights whose score is above a threshold.

    So the mask follows the scores from step to step; `keep` and `keep_above` set the threshold. An
    implementation of `seam.masks.scores.Scores`. Those of several networks lie along a first
    dimension, the stack, each with a threshold of its own, see `stacked`.

    Source: SeaM section 3.1: scores start at 1, the threshold is 0; the gradient passes the
    binarisation unchanged but for a clamp to [-1, 1] (straight-through), *same* as the published
    code.
    """

    def __init__(self, network: nn.Module) -> None:
        """Take the weights of `network`, on its device; the network itself is not changed."""
        self.effective = EffectiveWeights(network)
        self.scores: Float[Tensor, "*stack weights"] = torch.ones_like(self.effective.weights)
        self.scores.grad = torch.zeros_like(self.scores)
        self._threshold: float | Float[Tensor, "*stack 1"] = 0.0

    @classmethod
    def stacked(cls, members: Sequence[ScoredWeights]) -> ScoredWeights:
        """Those of several copies of one network; their thresholds are to be set anew."""
        made = copy.copy(members[0])
        made.effective = EffectiveWeights.stacked([own.effective for own in members])
        made.scores = torch.stack([own.scores for own in members])
        made.scores.grad = torch.zeros_like(made.scores)
        return made

    def mask(self) -> Bool[Tensor, "*stack weights"]:
        """Which weights are kept, all in one."""
        return self.scores > self._threshold

    def signal(self) -> Float[Tensor, "*stack weights"]:
        """Gradient of the loss with respect to the mask, as the last backward pass left it, clamped to [-1, 1]."""
        return (self.effective.gradient * self.effective.weights).clamp_(-1, 1)

    def score_costs(self, costs: Float[Tensor, "*stack weights"] | None) -> Float[Tensor, "*stack weights"] | None:
        """What each weight costs; None: all the same."""
        return costs

    def keep_above(self, threshold: float) -> None:
        """Keep the weights whose score is above `threshold`, from now on."""
        self._threshold = threshold

    @torch.no_grad()
    def keep(self, budget: float, costs: Float[Tensor, "*stack weights"] | None = None) -> None:
        """Set the threshold so that the weights with the highest scores are kept, as many as the budget pays for.

        A GPU is not waited for.

        Args:
            budget: in (0, 1]: the fraction of the weights, or of the total of `costs`, to keep.
            costs: of every weight; None: all weights cost the same.
        """
        count = len(self.effective)
        if costs is None:
            removed = count - max(1, round(budget * count))
            self._threshold = _kth_lowest(self.scores, removed) if removed else -math.inf
            return
        scores, order = self.scores.sort(descending=True)
        spent = costs.gather(-1, order).cumsum(-1, dtype=torch.float64)
        kept = (spent <= budget * spent[..., -1:] * (1 + 1e-9)).sum(-1, keepdim=True).clamp_(min=1)
        next_best = scores.gather(-1, kept.clamp(max=count - 1))
        self._threshold = next_best.masked_fill_(kept == count, -math.inf)


def _kth_lowest(values: Float[Tensor, "*stack values"], k: int) -> Float[Tensor, "*stack 1"]:
    """The k-th lowest value, k from 1; on CUDA by sorting, since torch's kthvalue uses one block of threads there."""
    if values.is_cuda:
        return values.sort().values[..., k - 1 : k].clone()
    return values.kthvalue(k, keepdim=True).values
