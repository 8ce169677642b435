"""How much the loss feels what each score is for, before a search begins."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor

from seam.masks.scores import refresh
from seam.search.images import Epochs
from seam.search.objective import Objective

SALIENCY_STEPS = 64
"""Batches whose gradients the first ranking is made of."""


def fisher_saliency(objective: Objective, images: Epochs) -> Float[Tensor, "*stack scores"]:
    """Mean square over batches of the gradient with respect to the mask, as it is; nothing learns.

    Source: the diagonal of the empirical Fisher information, as in Theis et al. 2018, with batch
    gradients.
    """
    total, count = torch.zeros(()), 0
    for signal in _signals(objective, images):
        total = signal.square() if count == 0 else total.add_(signal.square())
        count += 1
    return total / max(count, 1)


def _signals(objective: Objective, images: Epochs) -> Iterator[Float[Tensor, "*stack scores"]]:
    """Gradients with respect to the mask, a batch at a time."""
    epochs = -(-SALIENCY_STEPS // images.steps)
    batches = (batch for epoch in range(epochs) for batch in images.epoch(-1 - epoch))
    for some, labels in islice(batches, SALIENCY_STEPS):
        refresh(objective.scored)
        objective.descend(some, labels)
        for parameter in (*objective.head.parameters(), *objective.norms):
            parameter.grad = None
        yield objective.scored.signal()
