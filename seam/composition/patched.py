"""A weak model and a module for the class that it is weak at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

WEIGHT_DECAY = 1e-3
"""Of the calibration, on standardised evidence."""
_STEPS = 64
"""Cautions that are tried, from none to a shift by the whole bound."""


@dataclass(frozen=True)
class Calibration:
    """How a module's score and a model's own evidence make new evidence for one class.

    Evidence is a log-odds: the logit of the class less the log-sum-exp of the others. The new one is
    `own * model + module * score + shift`, held to [-bound, bound].
    """

    own: float
    module: float
    shift: float
    bound: float


class Patched(nn.Module):
    """A model whose logit for one class is made from its own and from a module's score.

    The other logits stay as they are, so that images of other classes change their label only where
    the class outvotes them; how far it may is bounded.
    """

    numbers: Tensor

    def __init__(self, model: nn.Module, module: nn.Module, column: int, calibration: Calibration) -> None:
        """Take both in eval mode, for the same images.

        Args:
            model: to logits, (batch, classes).
            module: to scores of the class, (batch,).
            column: of the class, in the model's logits.
            calibration: of both.
        """
        super().__init__()
        self.model, self.module, self.column = model, module, column
        values = (calibration.own, calibration.module, calibration.shift, calibration.bound)
        self.register_buffer("numbers", torch.tensor(values))

    def forward(self, images: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch classes"]:
        """Logits of the model's classes."""
        return self.combined(self.model(images), self.module(images))

    def combined(
        self, logits: Float[Tensor, "batch classes"], scores: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch classes"]:
        """Logits made of the model's and of the module's scores."""
        own, module, shift, bound = self.numbers
        evidence = own * log_odds(logits, self.column) + module * scores + shift
        held = torch.minimum(torch.maximum(evidence, -bound), bound)
        patched = others_together(logits, self.column) + held
        return torch.cat([logits[:, : self.column], patched[:, None], logits[:, self.column + 1 :]], 1)


def others_together(logits: Float[Tensor, "images classes"], column: int) -> Float[Tensor, " images"]:
    """The log-sum-exp of all logits but one."""
    return torch.cat([logits[:, :column], logits[:, column + 1 :]], 1).logsumexp(1)


def log_odds(logits: Float[Tensor, "images classes"], column: int) -> Float[Tensor, " images"]:
    """The evidence for one class against the others."""
    return logits[:, column] - others_together(logits, column)


def put_evidence(
    logits: Float[Tensor, "images classes"], column: int, evidence: Float[Tensor, " images"]
) -> Float[Tensor, "images classes"]:
    """The same logits but for those of one class, which are of this evidence."""
    changed = logits.clone()
    changed[:, column] = others_together(logits, column) + evidence
    return changed


def calibrate(
    logits: Float[Tensor, "images classes"],
    scores: Float[Tensor, " images"],
    labels: Tensor,
    column: int,
) -> Calibration:
    """Learn how much a module and a model count, on train-side images.

    A logistic regression of "is of the class" on both, and then the least caution (a shift away from
    the class) at which no more images of other classes are wrong than before; of equals, the best
    F1. The bound is the largest evidence that the model itself has on these images.

    Args:
        logits: of the model.
        scores: of the module.
        labels: of the images, as columns of the logits.
        column: of the class.
    """
    known, own = logits.double(), log_odds(logits.double(), column)
    positive = labels == column
    first, second, shift = _logistic(own, scores.double(), positive)
    bound = float(own.abs().max())
    rest_before = _rest_right(known, labels, positive)
    best, best_f1 = 0.0, -1.0
    for step in range(_STEPS + 1):
        caution = bound * step / _STEPS
        evidence = (first * own + second * scores.double() + shift - caution).clamp(-bound, bound)
        changed = put_evidence(known, column, evidence)
        said = changed.argmax(1) == column
        f1 = 2 * int((said & positive).sum()) / max(1, int(said.sum()) + int(positive.sum()))
        if _rest_right(changed, labels, positive) >= rest_before and f1 > best_f1:
            best, best_f1 = caution, f1
    if best_f1 < 0:  # no caution is enough: the module is left out
        return Calibration(1.0, 0.0, 0.0, bound)
    return Calibration(first, second, shift - best, bound)


def _rest_right(logits: Tensor, labels: Tensor, positive: Bool[Tensor, " images"]) -> int:
    return int(((logits.argmax(1) == labels) & ~positive).sum())


def _logistic(own: Tensor, scores: Tensor, positive: Bool[Tensor, " images"]) -> tuple[float, float, float]:
    """Weights of both and the shift, none of the weights below zero."""
    both = torch.stack([own, scores], 1)
    middle, spread = both.mean(0), both.std(0).clamp(min=1e-6)
    given = (both - middle) / spread
    roots = torch.full((2,), 0.7, dtype=torch.float64, requires_grad=True)
    shift = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([roots, shift], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        weights = roots.square()
        loss = F.binary_cross_entropy_with_logits(given @ weights + shift, positive.double())
        loss = loss + 0.5 * WEIGHT_DECAY * weights.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    weights = roots.detach().square() / spread
    return float(weights[0]), float(weights[1]), float(shift.detach() - (weights * middle).sum())
