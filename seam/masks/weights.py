"""A score for every single weight."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from seam.masks.effective import EffectiveWeights


class ScoredWeights:
    """Frozen weights, each with a real score; the mask keeps the weights whose score is above a threshold.

    So the mask follows the scores from step to step; `keep` and `keep_above` set the threshold. An
    implementation of `seam.masks.scores.Scores`.

    Source: SeaM section 3.1: scores start at 1, the threshold is 0; the gradient passes the
    binarisation unchanged but for a clamp to [-1, 1] (straight-through), *same* as the published
    code.
    """

    def __init__(self, network: nn.Module) -> None:
        """Take the weights of `network`, on its device; the network itself is not changed."""
        self.effective = EffectiveWeights(network)
        self.scores: Float[Tensor, " weights"] = torch.ones_like(self.effective.weights)
        self.scores.grad = torch.zeros_like(self.scores)
        self._threshold = 0.0

    def mask(self) -> Bool[Tensor, " weights"]:
        """Which weights are kept, all in one."""
        return self.scores > self._threshold

    def signal(self) -> Float[Tensor, " weights"]:
        """Gradient of the loss with respect to the mask, as the last backward pass left it, clamped to [-1, 1]."""
        return (self.effective.gradient * self.effective.weights).clamp_(-1, 1)

    def score_costs(self, costs: Float[Tensor, " weights"] | None) -> Float[Tensor, " weights"] | None:
        """What each weight costs; None: all the same."""
        return costs

    def keep_above(self, threshold: float) -> None:
        """Keep the weights whose score is above `threshold`, from now on."""
        self._threshold = threshold

    @torch.no_grad()
    def keep(self, budget: float, costs: Float[Tensor, " weights"] | None = None) -> None:
        """Set the threshold so that the weights with the highest scores are kept, as many as the budget pays for.

        Args:
            budget: in (0, 1]: the fraction of the weights, or of the total of `costs`, to keep.
            costs: of every weight; None: all weights cost the same.
        """
        count = len(self.scores)
        if costs is None:
            removed = count - max(1, round(budget * count))
            self.keep_above(_kth_lowest(self.scores, removed) if removed else -math.inf)
            return
        scores, order = self.scores.sort(descending=True)
        spent = costs[order].cumsum(0, dtype=torch.float64)
        kept = max(1, int((spent <= budget * spent[-1] * (1 + 1e-9)).sum()))
        self.keep_above(float(scores[kept]) if kept < count else -math.inf)


def _kth_lowest(values: Float[Tensor, " values"], k: int) -> float:
    """The k-th lowest value, k from 1; on CUDA by sorting, since torch's kthvalue uses one block of threads there."""
    return float(values.sort().values[k - 1] if values.is_cuda else values.kthvalue(k).values)
