"""Scores over single weights, and the mask and effective weights they make."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from seam.masks.masks import maskable


class ScoredWeights:
    """Frozen weights, each with a real score; the mask keeps the weights whose score is above `threshold`.

    All weights lie in one flat buffer, and so do the scores, the effective weights (weight * mask)
    and their gradient, so that a step costs three elementwise passes whatever the number of
    tensors.

    Source: SeaM section 3.1: scores start at 1, the threshold is 0; the gradient passes the
    binarisation unchanged but for a clamp to [-1, 1] (straight-through), *same* as the published
    code.
    """

    def __init__(self, network: nn.Module) -> None:
        """Take the weights of `network`, on its device; the network itself is not changed."""
        parameters = maskable(network)
        self._shapes = {name: p.shape for name, p in parameters.items()}
        self.weights: Float[Tensor, " weights"] = torch.cat([p.detach().reshape(-1) for p in parameters.values()])
        self.scores: Float[Tensor, " scores"] = torch.ones(self.num_scores, device=self.weights.device)
        self.scores.grad = torch.zeros_like(self.scores)
        self.threshold = 0.0
        self._effective = torch.empty_like(self.weights)
        self._gradient = torch.zeros_like(self.weights)
        self.effective = {name: view.requires_grad_() for name, view in self.split(self._effective.detach()).items()}
        """Parameter name -> weight * mask, a leaf tensor to run the network with."""
        for view, gradient in zip(self.effective.values(), self.split(self._gradient).values(), strict=True):
            view.grad = gradient
        self.refresh()

    def __len__(self) -> int:
        return self.weights.numel()

    @property
    def num_scores(self) -> int:
        """One for each weight."""
        return len(self)

    @property
    def flat(self) -> Float[Tensor, " weights"]:
        """The effective weights, all in one: weight * mask, as `refresh` left them."""
        return self._effective

    @property
    def gradient(self) -> Float[Tensor, " weights"]:
        """Of the loss with respect to the effective weights, as the last backward pass left it."""
        return self._gradient

    def spread(self, values: Mapping[str, float]) -> Float[Tensor, " weights"]:
        """One value a tensor, repeated for each of its weights; 0 for a tensor that is not in `values`."""
        pieces = [
            torch.full((shape.numel(),), values.get(name, 0.0), device=self.weights.device)
            for name, shape in self._shapes.items()
        ]
        return torch.cat(pieces)

    def mask(self) -> Bool[Tensor, " weights"]:
        """Which weights are kept, all in one."""
        return self.scores > self.threshold

    def signal(self) -> Float[Tensor, " scores"]:
        """Gradient of the loss with respect to the mask, as the last backward pass left it, clamped to [-1, 1]."""
        return (self._gradient * self.weights).clamp_(-1, 1)

    def score_costs(self, costs: Float[Tensor, " weights"] | None) -> Float[Tensor, " scores"] | None:
        """What belongs to each score costs; None: all the same."""
        return costs

    @torch.no_grad()
    def refresh(self) -> None:
        """Recompute the effective weights from the scores and clear their gradient."""
        torch.mul(self.weights, self.mask(), out=self._effective)
        self._gradient.zero_()

    @torch.no_grad()
    def backward(self, drift: float | Tensor) -> None:
        """Turn the gradient of the effective weights into `scores.grad`.

        Args:
            drift: gradient of the cost term: alpha times each weight's share of the cost (alpha /
                number of weights for density).
        """
        assert self.scores.grad is not None
        torch.add(self.signal(), drift, out=self.scores.grad)

    @torch.no_grad()
    def keep(self, budget: float, costs: Float[Tensor, " weights"] | None = None) -> None:
        """Set the threshold so that the weights with the highest scores are kept, as many as the budget pays for.

        Args:
            budget: in (0, 1]: the fraction of the weights, or of the total of `costs`, to keep.
            costs: of every weight; None: all weights cost the same.
        """
        count = len(self)
        if costs is None:
            removed = count - max(1, round(budget * count))
            self.threshold = float(self.scores.kthvalue(removed).values) if removed else -math.inf
            return
        scores, order = self.scores.sort(descending=True)
        spent = costs[order].cumsum(0, dtype=torch.float64)
        kept = max(1, int((spent <= budget * spent[-1] * (1 + 1e-9)).sum()))
        self.threshold = float(scores[kept]) if kept < count else -math.inf

    def density(self) -> float:
        """Fraction of weights kept (one host sync); one that is zero anyway, as another mask leaves it, is none."""
        return float((self.mask() & (self.weights != 0)).float().mean())

    def masks(self) -> dict[str, Tensor]:
        """The masks, on the CPU."""
        return {name: view.cpu() for name, view in self.split(self.mask()).items()}

    def split(self, flat: Shaped[Tensor, "*stack weights"]) -> dict[str, Tensor]:
        """Views of a flat tensor by parameter name, of its shape behind the leading dimensions of `flat`."""
        pieces = torch.split(flat, [s.numel() for s in self._shapes.values()], dim=-1)
        return {
            name: piece.view(*flat.shape[:-1], *shape)
            for (name, shape), piece in zip(self._shapes.items(), pieces, strict=True)
        }
