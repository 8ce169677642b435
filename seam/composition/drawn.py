"""The images of a pass over training images, for modules that learn side by side."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from seam.data.images import LabelledImages
from seam.data.lazy import batches_of
from seam.training.batches import num_batches


def passes_together(
    data: LabelledImages, preprocess: nn.Module, batch_size: int, most: int | None, seed: int, number: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """One pass: (images, labels) for all modules, as the network takes them; a function of seed and number alone.

    Args:
        data: on the device that computes.
        preprocess: to the network's input.
        batch_size: images a step; a last batch smaller than half of it is left out.
        most: at most so many images, drawn anew for every pass; None: all.
        seed: of the run.
        number: of the pass.
    """
    draw = hash((seed, number)) % 2**63
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(draw))[:most].to(data.labels.device)
    chosen = list(order.split(batch_size))[: num_batches(len(order), batch_size)]
    for rows, images in zip(chosen, batches_of(data.images, chosen, draw), strict=True):
        yield preprocess(images), data.labels[rows]


def passes_alone(
    data: LabelledImages, preprocess: nn.Module, batch_size: int, most: int | None, seed: int, number: int, classes: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """One pass with a batch of its own for every module: half of its class, half of the others.

    Args:
        data: see `passes_together`, as all but the last.
        preprocess: see there.
        batch_size: images a step of each module.
        most: see there; it bounds the steps.
        seed: of the run.
        number: of the pass.
        classes: modules, one a class.

    Yields:
        Images (modules, batch, ...) and whether each is of the module's class, 0 or 1, (modules, batch).
    """
    draw = hash((seed, number)) % 2**63
    generator = torch.Generator().manual_seed(draw)
    labels, half = data.labels.cpu(), max(1, batch_size // 2)
    rows = [((labels == i).nonzero()[:, 0], (labels != i).nonzero()[:, 0]) for i in range(classes)]

    def some(of: Tensor) -> Tensor:
        return of[torch.randint(len(of), (half,), generator=generator)]

    steps = num_batches(min(len(data), most or len(data)), batch_size)
    chosen = [torch.cat([some(of) for pair in rows for of in pair]).to(data.labels.device) for _ in range(steps)]
    wanted = torch.cat([torch.ones(classes, half), torch.zeros(classes, half)], 1).to(data.labels.device)
    for images in batches_of(data.images, chosen, draw):
        yield preprocess(images).unflatten(0, (classes, 2 * half)), wanted
