"""Modules put together: a network whose classes are those of its modules."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from seam.composition.merged import side_by_side
from seam.composition.module import Module


class Composed(nn.Module):
    """The scores of modules beside each other, as logits of their classes.

    Attributes:
        parts: all modules as one network, what they share computed once.
        scale: of each module's score, (classes,).
        shift: added then, (classes,).
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, modules: Sequence[Module], example: Float[Tensor, "batch ..."]) -> None:
        """Take modules of different classes for images of the same shape, in eval mode on the CPU."""
        super().__init__()
        self.parts = side_by_side([module.network for module in modules], example)
        self.register_buffer("scale", torch.ones(len(modules)))
        self.register_buffer("shift", torch.zeros(len(modules)))

    def forward(self, images: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch classes"]:
        """A logit a class, in the order of the modules."""
        scores: Tensor = self.parts(images)
        return scores * self.scale + self.shift


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
    optimizer = torch.optim.LBFGS([log_scale, shift], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        away = log_scale.square().sum() + shift.square().sum()
        loss = F.cross_entropy(known * log_scale.exp() + shift, labels) + 0.5 * weight_decay * away
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return log_scale.detach().exp().float(), shift.detach().float()
