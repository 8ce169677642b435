"""Which candidates for the modules of all classes go well together, without trying all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Fitness = Callable[[Tensor, Tensor], Tensor]
"""(accuracy, difference of the modules) of compositions, each in [0, 1] -> how good they are."""


@dataclass(frozen=True)
class Compositions:
    """Some compositions of modules for some of the classes."""

    classes: tuple[int, ...]
    chosen: Int[Tensor, "compositions members"]
    """The candidate for each of `classes`."""
    best: Float[Tensor, "compositions images"]
    """The largest score of any member."""
    right: Bool[Tensor, "compositions images"]
    """Whether the image's own class has that score; never for images of other classes."""
    difference: Float[Tensor, " compositions"]
    """Sum over pairs of members of how different their masks are."""
    fitness: Float[Tensor, " compositions"]


def alone(
    scores: Float[Tensor, "candidates images"], labels: Int[Tensor, " images"], of: int, fitness: Fitness
) -> Compositions:
    """Every candidate for one class, each by itself."""
    count = len(scores)
    right = (labels == of).expand(count, -1)
    zeros = torch.zeros(count)
    return Compositions((of,), torch.arange(count)[:, None], scores, right, zeros, fitness(torch.ones(count), zeros))


def joined(
    one: Compositions,
    other: Compositions,
    difference: Float[Tensor, "classes candidates classes candidates"],
    labels: Int[Tensor, " images"],
    fitness: Fitness,
    most: int,
) -> Compositions:
    """All pairs of compositions of different classes; the fittest, at most so many, best first.

    Args:
        one: of some classes.
        other: of others.
        difference: of each pair of candidates.
        labels: of the images.
        fitness: to be highest.
        most: pairs that are kept.
    """
    classes = one.classes + other.classes
    inside = torch.isin(labels, torch.tensor(classes))
    right = _right(one, other)
    accuracy = right[..., inside].double().mean(2)
    total = one.difference[:, None] + other.difference[None]
    for i, first in enumerate(one.classes):
        for j, second in enumerate(other.classes):
            total = total + difference[first][one.chosen[:, i]][:, second][:, other.chosen[:, j]]
    pairs = len(classes) * (len(classes) - 1) / 2
    value = fitness(accuracy, total / pairs).flatten()
    kept = value.argsort(descending=True, stable=True)[:most]
    a, b = kept // len(other.chosen), kept % len(other.chosen)
    return Compositions(
        classes,
        torch.cat([one.chosen[a], other.chosen[b]], 1),
        torch.maximum(one.best[a], other.best[b]),
        right[a, b],
        total.flatten()[kept],
        value[kept],
    )


def _right(one: Compositions, other: Compositions) -> Bool[Tensor, "first second images"]:
    ahead = one.best[:, None] > other.best[None]
    return torch.where(ahead, one.right[:, None], other.right[None])


def tournament(
    scores: Float[Tensor, "classes candidates images"],
    difference: Float[Tensor, "classes candidates classes candidates"],
    labels: Int[Tensor, " images"],
    order: Int[Tensor, " classes"],
    fitness: Fitness,
    most: int,
) -> Compositions:
    """The fittest compositions of all classes, best first.

    Compositions of one class are joined to those of two, these to those of four, and so on, as in
    the published code; of each only the fittest go on.

    Args:
        scores: of every candidate on every image.
        difference: of each pair of candidates, in [0, 1].
        labels: of the images.
        order: in which classes meet.
        fitness: to be highest.
        most: compositions that go on.
    """
    level = [alone(scores[of], labels, of, fitness) for of in order.tolist()]
    while len(level) > 1:
        pairs = [joined(a, b, difference, labels, fitness, most) for a, b in zip(level[::2], level[1::2], strict=False)]
        level = pairs + level[2 * len(pairs) :]
    best = level[0]
    back = torch.tensor(best.classes).argsort()
    return Compositions(
        tuple(sorted(best.classes)), best.chosen[:, back], best.best, best.right, best.difference, best.fitness
    )
