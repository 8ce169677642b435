"""Modules put together: a network whose classes are those of its modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from seam.composition.merged import side_by_side
from seam.composition.module import Module

MIXING = 0.03
"""Pull of scores that are mixed to those that are not."""


class Composed(nn.Module):
    """The scores of modules beside each other, as logits of their classes.

    Attributes:
        parts: all modules as one network, what they share computed once.
        mixed: from the modules' scores to logits; the identity, or a linear layer.
    """

    def __init__(self, modules: Sequence[Module], example: Float[Tensor, "batch ..."]) -> None:
        """Take modules of different classes for images of the same shape, in eval mode on the CPU."""
        super().__init__()
        self.parts = side_by_side([module.network for module in modules], example)
        self.mixed: nn.Module = nn.Identity()

    def forward(self, images: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch classes"]:
        """A logit a class, in the order of the modules."""
        logits: Tensor = self.mixed(self.parts(images))
        return logits


def mixture(
    scores: Float[Tensor, "images classes"], labels: Int[Tensor, " images"], weight_decay: float = MIXING
) -> nn.Linear:
    """The linear layer that makes logits of the scores of modules of several sources.

    A module was never told of another source's classes; that it takes their images for its own shows in
    the scores of both. First a scale and a shift for each score, see `calibration`, then a matrix that
    begins as the identity. Lowest cross-entropy by L-BFGS, deterministic.

    Args:
        scores: of train-side images.
        labels: indices of the columns.
        weight_decay: pulls the matrix to the identity.
    """
    scale, shift = calibration(scores, labels)
    known, count = (scores * scale + shift).double(), scores.shape[1]
    matrix, begin = torch.eye(count, dtype=torch.float64, requires_grad=True), torch.eye(count, dtype=torch.float64)
    bias = torch.zeros(count, dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        away = (matrix - begin).square().sum() + bias.square().sum()
        return F.cross_entropy(known @ matrix.T + bias, labels) + 0.5 * weight_decay * away

    _least([matrix, bias], loss)
    with torch.random.fork_rng(devices=[]), torch.no_grad():  # what is drawn is replaced
        layer = nn.Linear(count, count)
        layer.weight.copy_(matrix * scale)
        layer.bias.copy_(matrix @ shift.double() + bias)
    return layer.requires_grad_(False)


def calibration(
    scores: Float[Tensor, "images classes"], labels: Int[Tensor, " images"], weight_decay: float = 1e-3
) -> tuple[Float[Tensor, " classes"], Float[Tensor, " classes"]]:
    """Scale and shift of each module's score at which the scores of several sources can be compared.

    Those of the lowest cross-entropy, by L-BFGS from 1 and 0: two numbers a class, deterministic.
    Scales stay above zero, so that no module's order of images is turned round.

    Args:
        scores: of train-side images.
        labels: indices of the columns.
        weight_decay: pulls scales to 1 and shifts to 0, which keeps both finite.
    """
    known = scores.double()
    log_scale = torch.zeros(scores.shape[1], dtype=torch.float64, requires_grad=True)
    shift = torch.zeros_like(log_scale, requires_grad=True)

    def loss() -> Tensor:
        away = log_scale.square().sum() + shift.square().sum()
        return F.cross_entropy(known * log_scale.exp() + shift, labels) + 0.5 * weight_decay * away

    _least([log_scale, shift], loss)
    return log_scale.detach().exp().float(), shift.detach().float()


def _least(values: list[Tensor], loss: Callable[[], Tensor]) -> None:
    """Bring a convex loss to its minimum, in place."""
    optimizer = torch.optim.LBFGS(values, max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        found = loss()
        found.backward()
        return found

    with torch.enable_grad():
        optimizer.step(closure)
