"""Masks of whole kernels, a bit for each output channel of a layer, and the groups of channels behind them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from seam.errors import MaskError
from seam.masks.channels import ScoredChannels
from seam.masks.groups import ChannelGroups
from seam.masks.masks import Masks
from seam.masks.scores import masks_of


def kernel_masks(groups: ChannelGroups, kept: Bool[Tensor, " groups"]) -> dict[str, Tensor]:
    """Name of each layer's weight -> which of its kernels are kept, shape (out,); layers that can lose some."""
    open_gates = torch.cat([kept.cpu(), torch.ones(1, dtype=torch.bool)])  # the last: -1, what always stays
    free = {layer: ids for layer, ids in groups.outputs.items() if bool((ids >= 0).any())}
    return {groups.weight_of(layer): open_gates[ids] for layer, ids in free.items()}


def groups_of_masks(groups: ChannelGroups, masks: Masks) -> Bool[Tensor, " groups"]:
    """Which groups masks of kernels keep: what `kernel_masks` was given.

    Raises:
        MaskError: they are not of these layers, or keep a part of a group.
    """
    everything = kernel_masks(groups, torch.ones(groups.number, dtype=torch.bool))
    if everything.keys() != masks.keys():
        other = sorted(everything.keys() ^ masks.keys())
        raise MaskError(f"kernels: expected masks of {len(everything)} layers of the network, got others: {other[0]}.")
    kept = torch.ones(groups.number, dtype=torch.bool)
    made = {groups.weight_of(layer): ids for layer, ids in groups.outputs.items()}
    for name, mask in masks.items():
        ids = made[name]
        if mask.shape != ids.shape:
            raise MaskError(f"kernels of '{name}': expected {len(ids)}, got a mask of shape {tuple(mask.shape)}.")
        kept[ids[(ids >= 0) & ~mask]] = False
    again = kernel_masks(groups, kept)
    for name, mask in masks.items():
        if not torch.equal(again[name], mask):
            raise MaskError(f"kernels of '{name}': expected channels that go together to be kept together.")
    return kept


def weight_masks(network: nn.Module, groups: ChannelGroups, kept: Bool[Tensor, " groups"]) -> dict[str, Tensor]:
    """Parameter -> the weights that kept channels make of kept channels, of the shape of the parameter."""
    scored = ScoredChannels(network, groups)
    scored.keep_groups(kept)
    return masks_of(scored)


def is_of_kernels(masks: Masks, parameters: Mapping[str, Tensor]) -> bool:
    """Whether masks have a bit a kernel; otherwise one a weight."""
    return all(mask.ndim == 1 and parameters[name].ndim > 1 for name, mask in masks.items() if name in parameters)
