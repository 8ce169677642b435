"""A weak model and a module for the class that it is weak at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

WEIGHT_DECAY = 1e-3
"""Of the calibration, on standardised evidence and rivals."""
CAUTION = 1.0
"""Standard errors by which images of other classes have to gain."""
FOLDS = 5
"""Of cross-validation."""


@dataclass(frozen=True)
class Calibration:
    """How a module's score and a model's own evidence make new evidence for one class.

    Evidence is a log-odds: the logit of the class less the log-sum-exp of the others. The new one is
    `own * model + module * score + others @ rivals + shift`, held to [-bound, bound]; rivals are the
    softmax of the other logits, so that a class counts that is easily taken for this one.
    """

    own: float
    module: float
    shift: float
    bound: float
    others: tuple[float, ...] = ()
    """A weight for each other class, in the order of the logits; empty: none counts."""


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
        self.register_buffer("numbers", _flat(calibration))

    def forward(self, images: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch classes"]:
        """Logits of the model's classes."""
        return _combined(self.model(images), self.module(images), self.column, self.numbers)


def combined(
    logits: Float[Tensor, "batch classes"], scores: Float[Tensor, " batch"], column: int, calibration: Calibration
) -> Float[Tensor, "batch classes"]:
    """Logits made of a model's and of a module's scores, as `Patched` gives them."""
    return _combined(logits, scores, column, _flat(calibration).to(logits.dtype))


def _flat(calibration: Calibration) -> Tensor:
    numbers = (calibration.own, calibration.module, calibration.shift, calibration.bound, *calibration.others)
    return torch.tensor(numbers)


def _combined(logits: Tensor, scores: Tensor, column: int, numbers: Tensor) -> Tensor:
    own, module, shift, bound = numbers[:4]
    evidence = own * log_odds(logits, column) + module * scores + shift
    if len(numbers) > 4:
        evidence = evidence + (_rivals(logits, column) * numbers[4:]).sum(1)
    held = torch.minimum(torch.maximum(evidence, -bound), bound)
    patched = others_together(logits, column) + held
    return torch.cat([logits[:, :column], patched[:, None], logits[:, column + 1 :]], 1)


def others_together(logits: Float[Tensor, "images classes"], column: int) -> Float[Tensor, " images"]:
    """The log-sum-exp of all logits but one."""
    return torch.cat([logits[:, :column], logits[:, column + 1 :]], 1).logsumexp(1)


def log_odds(logits: Float[Tensor, "images classes"], column: int) -> Float[Tensor, " images"]:
    """The evidence for one class against the others."""
    return logits[:, column] - others_together(logits, column)


def _rivals(logits: Tensor, column: int) -> Float[Tensor, "images others"]:
    """The softmax of all logits but one."""
    return torch.cat([logits[:, :column], logits[:, column + 1 :]], 1).softmax(1)


def calibrate(
    logits: Float[Tensor, "images classes"],
    scores: Float[Tensor, " images"],
    labels: Tensor,
    column: int,
    caution: float = CAUTION,
) -> Calibration:
    """Learn how much a module and a model count, on images that neither was trained on.

    A logistic regression of "is of the class" on both and on the rivals, and then the shift of the best F1 among those
    at which images of other classes gain: `won - lost >= caution * sqrt(won + lost)`, where won and
    lost are those that are right after and not before, and the other way round. The bound is the
    largest evidence that the model itself has on these images. Where no shift will do, the module
    is left out.

    Args:
        logits: of the model.
        scores: of the module.
        labels: of the images, as columns of the logits.
        column: of the class.
        caution: standard errors; the more, the fewer images of other classes are lost on new images.
    """
    known, positive = logits.double(), labels == column
    own, rivals = log_odds(known, column), _rivals(known, column)
    bound = float(own.abs().max())
    first, second, others, shift = _logistic(torch.stack([own, scores.double()], 1), rivals, positive)
    evidence = first * own + second * scores.double() + rivals @ others + shift
    needed = _needed(known, column)  # by the class, to have the largest logit
    least = _least(evidence - needed, known, labels, column, caution)
    if least is None:
        return Calibration(1.0, 0.0, 0.0, bound)
    return Calibration(first, second, shift - least, bound, tuple(others.tolist()))


def unseen(
    logits: Float[Tensor, "images classes"],
    scores: Float[Tensor, " images"],
    labels: Tensor,
    column: int,
    caution: float = CAUTION,
) -> Float[Tensor, "images classes"]:
    """Patched logits of each image, by numbers that are learned without it: what to accept a patch on.

    Cross-validation in `FOLDS`, of which each has the same share of every class.

    Args:
        logits: of the model.
        scores: of the module.
        labels: of the images, as columns of the logits.
        column: of the class.
        caution: see `calibrate`.
    """
    fold, after = _folds(labels), logits.clone()
    for number in range(FOLDS):
        held = fold == number
        if bool(held.any()) and bool((~held).any()):
            numbers = calibrate(logits[~held], scores[~held], labels[~held], column, caution)
            after[held] = combined(logits[held], scores[held], column, numbers)
    return after


def _folds(labels: Tensor) -> Tensor:
    """Number of the fold of each image: those of a class take turns."""
    fold = torch.zeros_like(labels)
    for label in labels.unique():
        rows = (labels == label).nonzero()[:, 0]
        fold[rows] = torch.arange(len(rows)) % FOLDS
    return fold


def _needed(logits: Tensor, column: int) -> Float[Tensor, " images"]:
    """The evidence above which the class has the largest logit."""
    others = torch.cat([logits[:, :column], logits[:, column + 1 :]], 1)
    return others.amax(1) - others.logsumexp(1)


def _least(margins: Tensor, logits: Tensor, labels: Tensor, column: int, caution: float) -> float | None:
    """The margin from which on an image is said to be of the class; None: there is none that is cautious enough."""
    order = margins.argsort(descending=True, stable=True)
    margins, positive = margins[order], (labels == column)[order]
    silent = logits.index_fill(1, torch.tensor([column]), -torch.inf)
    before, without = ((given.argmax(1) == labels)[order] & ~positive for given in (logits, silent))
    said, hits = torch.arange(1, len(margins) + 1), positive.double().cumsum(0)
    lost, back = before.double().cumsum(0), (without & ~before).double()
    won = back.sum() - back.cumsum(0)
    f1 = 2 * hits / (said + int(positive.sum()))
    last_of_equals = torch.cat([margins[1:] != margins[:-1], torch.ones(1, dtype=torch.bool)])
    allowed = (won - lost >= caution * (won + lost).sqrt()) & last_of_equals
    if not bool(allowed.any()):
        return None
    at = int(torch.where(allowed, f1, -1.0).argmax())
    below = float(margins[at + 1]) if at + 1 < len(margins) else float(margins[at]) - 1
    return (float(margins[at]) + below) / 2


def _logistic(
    both: Float[Tensor, "images 2"], rivals: Float[Tensor, "images others"], positive: Bool[Tensor, " images"]
) -> tuple[float, float, Tensor, float]:
    """Weights of both, neither below zero, those of the rivals, and the shift."""
    middle, spread = both.mean(0), both.std(0).clamp(min=1e-6)
    given = torch.cat([(both - middle) / spread, rivals], 1)
    roots = torch.full((2,), 0.7, dtype=torch.float64, requires_grad=True)
    free = torch.zeros(rivals.shape[1], dtype=torch.float64, requires_grad=True)
    shift = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([roots, free, shift], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        weights = torch.cat([roots.square(), free])
        loss = F.binary_cross_entropy_with_logits(given @ weights + shift, positive.double())
        loss = loss + 0.5 * WEIGHT_DECAY * weights.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    weights = roots.detach().square() / spread
    return float(weights[0]), float(weights[1]), free.detach(), float(shift.detach() - (weights * middle).sum())
