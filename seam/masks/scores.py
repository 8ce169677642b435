"""Scores that make a mask: what a search needs of them, whatever each of them is for."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from seam.masks.effective import EffectiveWeights


@runtime_checkable
class Scores(Protocol):
    """Real scores and the mask over weights that they make.

    What a score is for (a weight, a group of channels) is the implementation's own; whoever moves
    scores need not know.
    """

    effective: EffectiveWeights
    """The weights under the mask, as `refresh` left them."""
    scores: Float[Tensor, " scores"]
    """1 at first; its `grad` is a tensor of its shape."""

    def mask(self) -> Bool[Tensor, " weights"]:
        """Which weights are kept, all in one."""
        ...

    def keep(self, budget: float, costs: Float[Tensor, " weights"] | None = None) -> None:
        """Keep what has the highest scores, as much as the budget pays for.

        Args:
            budget: in (0, 1]: the fraction of the weights, or of the total of `costs`, to keep.
            costs: of every weight; None: all weights cost the same.
        """
        ...

    def keep_above(self, threshold: float) -> None:
        """Keep what has a higher score than `threshold`, as far as the network can do without the rest."""
        ...

    def signal(self) -> Float[Tensor, " scores"]:
        """Gradient of the loss with respect to what each score keeps or removes, after a backward pass."""
        ...

    def score_costs(self, costs: Float[Tensor, " weights"] | None) -> Float[Tensor, " scores"] | None:
        """What is kept by each score costs, given the cost of every weight (None: all the same).

        Returns:
            None: all the same, one weight each.
        """
        ...


def refresh(scored: Scores) -> None:
    """Put the mask on the effective weights and clear their gradient."""
    scored.effective.put(scored.mask())


@torch.no_grad()
def backward(scored: Scores, drift: float | Tensor) -> None:
    """Turn the gradient of the effective weights into that of the scores.

    Args:
        scored: after a backward pass.
        drift: gradient of the cost term, of each score or of all.
    """
    assert scored.scores.grad is not None
    torch.add(scored.signal(), drift, out=scored.scores.grad)


def density_of(scored: Scores) -> float:
    """Fraction of weights kept (one host sync); one that is zero anyway, as another mask leaves it, is none."""
    return float(densities_of(scored))


def densities_of(scored: Scores) -> Float[Tensor, "*stack"]:
    """As `density_of`, of each network of a stack (see `seam.masks.stacked`), not waited for."""
    return (scored.mask() & (scored.effective.weights != 0)).float().mean(-1)


def masks_of(scored: Scores) -> dict[str, Tensor]:
    """The masks by parameter name, on the CPU."""
    return {name: view.cpu() for name, view in scored.effective.split(scored.mask()).items()}
