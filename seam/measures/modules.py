"""What modules keep of their source, how much they have in common, and how well each knows its class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seam.errors import SearchError
from seam.masks.masks import Masks, density
from seam.measures.macs import Counts


@dataclass(frozen=True)
class Retention:
    """Fractions of a source that a module keeps, each in [0, 1] unless its head is larger than what went."""

    kernels: float
    """Of the kernels that can go; of masks over single weights, of these."""
    params: float
    """Weights that are not zero, its head included."""
    macs: float
    """Multiply-adds with them."""


def retention(masks: Masks, module: Counts, source: Counts) -> Retention:
    """What a module keeps of its source.

    Args:
        masks: of the module.
        module: sizes of it as it runs, without what was removed.
        source: sizes of the network it is a part of.
    """
    return Retention(
        density(masks), module.params_nonzero / source.params_nonzero, module.macs_nonzero / source.macs_nonzero
    )


def jaccard(masks: Sequence[Masks]) -> Float[Tensor, "modules modules"]:
    """Of each pair of modules of one source, what both keep as a fraction of what one of them keeps.

    Over masks, not over the values of weights, whose zeros would count as different.

    Raises:
        SearchError: the masks are not of the same tensors.
    """
    if any({k: v.shape for k, v in m.items()} != {k: v.shape for k, v in masks[0].items()} for m in masks):
        raise SearchError("masks: expected those of modules of one source and one method, got others.")
    kept = torch.stack([torch.cat([m[name].flatten() for name in masks[0]]) for m in masks]).double()
    both = kept @ kept.T
    sizes = kept.sum(1)
    return (both / (sizes[:, None] + sizes - both).clamp(min=1)).float()


def within(known: Bool[Tensor, " images"], right: Bool[Tensor, " images"], tolerance: float, caution: float) -> bool:
    """Whether modules lose no more accuracy than a tolerance, less so many standard errors of that loss.

    These take half of it at most, or few images that are hard would never let anything go.

    Args:
        known: images that the source is right on.
        right: images that the modules are right on.
        tolerance: accuracy that may be lost.
        caution: standard errors; images on which both are right, or both wrong, add nothing to them.
    """
    lost = int(known.sum()) - int(right.sum())
    error = math.sqrt(int((known != right).sum()))
    allowed = tolerance * len(known)
    return lost <= max(allowed / 2, allowed - caution * error) + 1e-9


@dataclass(frozen=True)
class Found:
    """How well images of one class are found among all; each in [0, 1], 0 where nothing was said to be of it."""

    precision: float
    recall: float
    f1: float


def found(said: Bool[Tensor, " images"], positive: Bool[Tensor, " images"]) -> Found:
    """Of which images it is said that they are of the class, and of which it is true."""
    both, all_said, all_true = (int(t.sum()) for t in (said & positive, said, positive))
    return Found(both / max(1, all_said), both / max(1, all_true), 2 * both / max(1, all_said + all_true))


def best_threshold(scores: Float[Tensor, " images"], positive: Bool[Tensor, " images"]) -> tuple[float, float]:
    """The threshold above which a score says "of the class" with the best F1, and that F1."""
    order = scores.argsort(descending=True, stable=True)
    values, hits = scores[order], positive[order].double().cumsum(0)
    said = torch.arange(1, len(scores) + 1)
    f1 = 2 * hits / (said + int(positive.sum()))
    last_of_equals = torch.cat([values[1:] != values[:-1], torch.ones(1, dtype=torch.bool)])
    at = int(torch.where(last_of_equals, f1, -1.0).argmax())
    below = float(values[at + 1]) if at + 1 < len(values) else float(values[at]) - 1
    return (float(values[at]) + below) / 2, float(f1[at])


def f1_by_class(
    logits: Float[Tensor, "images classes"], labels: Int[Tensor, " images"], classes: Sequence[str]
) -> Mapping[str, Found]:
    """Of each class, how well the largest logit finds it."""
    said = logits.argmax(1)
    return {name: found(said == i, labels == i) for i, name in enumerate(classes)}


@dataclass(frozen=True)
class Mended:
    """How a model finds one class, and the others, before and after a change."""

    before: Found
    after: Found
    """How well the class is found."""
    rest_before: float
    rest_after: float
    """Fraction of the images of other classes that are right, all classes being possible."""

    @property
    def accepted(self) -> bool:
        """F1 of the class rises, and no more images of other classes are wrong."""
        return self.after.f1 > self.before.f1 and self.rest_after >= self.rest_before

    @property
    def why_not(self) -> str:
        """In words, of one that is not accepted."""
        if self.rest_after < self.rest_before:
            fall = 100 * (self.rest_before - self.rest_after)
            return f"{fall:.2f} points fewer images of other classes are right"
        return f"F1 does not rise ({100 * self.before.f1:.1f}%, then {100 * self.after.f1:.1f}%)"


def mended(
    before: Float[Tensor, "images classes"], after: Float[Tensor, "images classes"], labels: Tensor, column: int
) -> Mended:
    """Compare the logits of two networks on the same images, for the class of one column and for the rest."""
    positive = labels == column
    one, other = (found(logits.argmax(1) == column, positive) for logits in (before, after))
    rest = [float((logits.argmax(1) == labels)[~positive].double().mean()) for logits in (before, after)]
    return Mended(one, other, rest[0], rest[1])
