"""Modules put together: a network whose classes are those of its modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from seam.composition.merged import side_by_side

PULLS = (1e-4, 1e-3, 1e-2, 1e-1)
"""Of a read-out's weights to zero, of which cross-validation takes one."""
FOLDS = 5
"""Of cross-validation."""
MOST_COLUMNS = 1000
"""That a read-out is fitted on: the solver's time grows with them."""


class Composed(nn.Module):
    """Networks on the same images beside each other, and logits of classes from what they say.

    Attributes:
        parts: all of them as one network, what they share computed once.
        mixed: from all they say to logits; the identity where each says one score of its class, or a
            linear layer, see `read_out`.
    """

    def __init__(self, networks: Sequence[nn.Module], example: Float[Tensor, "batch ..."]) -> None:
        """Take networks for images of the same shape, in eval mode on the CPU."""
        super().__init__()
        self.parts = side_by_side(networks, example)
        self.mixed: nn.Module = nn.Identity()

    def forward(self, images: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch classes"]:
        """A logit a class."""
        logits: Tensor = self.mixed(self.parts(images))
        return logits


def read_out(
    columns: Float[Tensor, "images columns"],
    labels: Int[Tensor, " images"],
    classes: int,
    pulls: Sequence[float] = PULLS,
) -> nn.Linear:
    """The linear layer that makes logits of what modules of several sources say.

    A module was never told of another source's classes; that it takes their images for its own shows in
    what all of them say. Lowest cross-entropy on standardised columns by L-BFGS, weights pulled to
    zero, by as much as gives the lowest cross-entropy on images left out; deterministic.

    Args:
        columns: outputs or scores of modules, side by side, on train-side images.
        labels: indices of the classes.
        classes: number of them.
        pulls: weight decays to choose among; of one, there is nothing to choose.
    """
    center, scale = columns.double().mean(0), columns.double().std(0, correction=0).clamp(min=1e-6)
    known = (columns.double() - center) / scale
    fold = _folds(labels)

    def left_out(pull: float) -> float:
        total = 0.0
        for number in range(FOLDS):
            out = fold == number
            weight, bias = _fitted(known[~out], labels[~out], classes, pull)
            total += float(F.cross_entropy(known[out] @ weight.T + bias, labels[out], reduction="sum"))
        return total

    weight, bias = _fitted(known, labels, classes, min(pulls, key=left_out) if len(pulls) > 1 else pulls[0])
    with torch.random.fork_rng(devices=[]), torch.no_grad():  # what is drawn is replaced
        layer = nn.Linear(columns.shape[1], classes)
        layer.weight.copy_(weight / scale)
        layer.bias.copy_(bias - weight @ (center / scale))
    return layer.requires_grad_(False)


def _folds(labels: Int[Tensor, " images"]) -> Int[Tensor, " images"]:
    """The fold of each image: those of each class in turn."""
    turn = torch.empty_like(labels)
    for number in labels.unique():
        rows = (labels == number).nonzero()[:, 0]
        turn[rows] = torch.arange(len(rows)) % FOLDS
    return turn


def _fitted(
    known: Float[Tensor, "images columns"], labels: Int[Tensor, " images"], classes: int, pull: float
) -> tuple[Tensor, Tensor]:
    """Weights and biases of the lowest cross-entropy, the weights pulled to zero."""
    weight = torch.zeros(classes, known.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    _least(
        [weight, bias],
        lambda: F.cross_entropy(known @ weight.T + bias, labels) + 0.5 * pull * weight.square().sum(),
    )
    return weight.detach(), bias.detach()


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
