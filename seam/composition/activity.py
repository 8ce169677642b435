"""How active the channels of a network are on images, each group of channels as one."""

from __future__ import annotations

from collections import defaultdict

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from seam.data.images import LabelledImages
from seam.data.lazy import batches_of
from seam.masks.gate import Gated
from seam.masks.groups import ChannelGroups
from seam.networks.activations import pooled


def group_activity(groups: ChannelGroups, reads: dict[str, Float[Tensor, "images channels"]]) -> Tensor:
    """Of each image how active each group is, (images, groups): of what each layer reads, as a share of its mean."""
    images = len(next(iter(reads.values())))
    total = torch.zeros(images, groups.number)
    for name, values in reads.items():
        ids = groups.inputs[name]
        free = ids >= 0
        total.index_add_(1, ids[free], values[:, free] / values.mean().clamp(min=1e-12))
    return total


@torch.no_grad()
def activity_of(
    gated: Gated, groups: ChannelGroups, data: LabelledImages, preprocess: nn.Module
) -> tuple[Float[Tensor, "images groups"], Float[Tensor, "images classes"]]:
    """How active each group is on each image, and the network's outputs, on the CPU.

    Args:
        gated: of the network, on the device that computes.
        groups: of its channels.
        data: on that device.
        preprocess: to the network's input.
    """
    seen = defaultdict[str, list[Tensor]](list)

    def see(name: str, read: Tensor) -> None:
        seen[name].append(pooled(gated.graph.get_submodule(name), read.abs()).cpu())

    with gated.reading(see):
        logits = outputs_on(gated.graph, data, preprocess)
    return group_activity(groups, {name: torch.cat(parts) for name, parts in seen.items()}), logits


@torch.no_grad()
def outputs_on(network: nn.Module, data: LabelledImages, preprocess: nn.Module) -> Float[Tensor, "images classes"]:
    """A network's outputs, on the CPU."""
    chosen = torch.arange(len(data), device=data.labels.device).split(256)
    return torch.cat([network(preprocess(images)).cpu() for images in batches_of(data.images, chosen, 0)])


def first_of_each(labels: Int[Tensor, " images"], classes: int, most: int) -> Int[Tensor, " rows"]:
    """Rows of the first so many images of every class."""
    return torch.cat([(labels == i).nonzero()[:most, 0] for i in range(classes)]).sort().values


def count_for_their_class(
    logits: Float[Tensor, "images classes"], labels: Int[Tensor, " images"], confidence: float
) -> Bool[Tensor, " images"]:
    """Images that the network is surer of than `confidence`; of a class without any, all."""
    sure = logits.softmax(1).gather(1, labels[:, None])[:, 0] > confidence
    some = labels[sure].bincount(minlength=logits.shape[1]) > 0
    return sure | ~some[labels]
