"""Physical removal of what cannot influence the output: a smaller dense network that computes the same function.

The network is traced with torch.fx. Each value in its graph that has channels (the outputs of a
convolution, the features of a linear layer) gets three vectors with one entry a channel, found in
this order:

1. `constant`, from input to output: the value of a channel that is the same for all inputs and
   positions, such as one whose filter is all zero. The convolution or linear layer that reads it
   takes its contribution into the bias.
2. `live`, from output to input: some weight that matters still reads the channel.
3. `kept`: the live channels, and those that must be there because others are: what is added,
   normalised, pooled or flattened has the same channels before and after; the groups of a grouped
   convolution that are left have as many channels each. An addend that is constant altogether
   becomes a tensor instead.

Zero padding makes a constant other than zero differ at the border, where it cannot become a bias.
All such channels that a padded convolution reads become one of them, which carries their weights;
that is exact. In front of a grouped one they stay.

Before that, a BatchNorm that follows a convolution or linear layer is folded into it, and
self-attention gets one form, two or more linear layers and what is between them, whose heads and
features are followed, be it torch's layer or written out. A norm by statistics over all channels
(LayerNorm, RMSNorm, GroupNorm of one group) loses those that are zero, which it goes on counting in
its statistics. Parameters that are added to values, multiplied with them or put beside them
(positions, layer scales, class tokens) lose channels with these. What stays though it is dead is
listed with the reason: what an operation that is not known reads; layers with hooks. Layers that
are called several times, or that share a weight, have the same channels in all calls.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn
from torch.nn.modules.conv import _ConvNd

from seam.compaction.analysis import mark_kept, mark_live
from seam.compaction.attention import SplitAttention, split_attention
from seam.compaction.constants import Constants
from seam.compaction.layers import by_output, fold_norms
from seam.compaction.rewrite import check, rewrite
from seam.compaction.trace import LAYERS, NotFollowedError, trace

TOLERANCE = 1e-5
"""Largest difference from the given network on random inputs, relative to the largest output."""
_OF_FOLDED_NORMS = TOLERANCE / 4
"""The same where norms are folded, which rounds differently: other images may differ more than the
two that are tried."""


ENGINE_BLOCK = 8
"""Channels that inference engines compute at once: with other numbers ONNX Runtime and DeepSparse
take their slow roads."""


@dataclass(frozen=True)
class Compacted:
    """A smaller network that computes the same function."""

    module: nn.Module
    """In eval mode, gradients off, on the device of the example; takes any batch size. Layers have
    the names they had."""
    removed: dict[str, int]
    """Layer -> output channels (features; of attention, those of its heads) removed. All of them:
    the layer is gone."""
    kept: dict[str, str]
    """Layer with dead channels or heads that could not be removed -> the reason, under its name in
    `module`.

    Under "": why nothing at all was removed.
    """


@torch.no_grad()
def compact(model: nn.Module, example_input: Float[Tensor, "batch ..."], multiple: int = 1) -> Compacted:
    """Remove every channel, filter, neuron, dead branch and attention head that cannot influence the output.

    The result is compared with `model` on random images, in float32; where it differs by more than
    `TOLERANCE`, and where the network cannot be traced, nothing is removed and `kept[""]` says why.
    It raises nothing of its own.

    Args:
        model: removed weights are exact zeros in it. Its eval mode counts; it is not changed.
        example_input: one batch; only the shape of its images, its type and its device are used.
        multiple: keep as many channels of each value as make a multiple of this, dead ones among
            them: engines compute in blocks of channels.
    """
    images = torch.randn((2, *example_input.shape[1:]), generator=torch.Generator().manual_seed(0)).to(
        example_input.dtype
    )
    reason = ""
    for folded in (True, False):  # a network that magnifies rounding keeps its norms
        try:
            smaller, removed, kept = _compact(
                copy.deepcopy(model).cpu().eval().requires_grad_(False), images, folded, multiple
            )
            return Compacted(smaller.to(example_input.device).eval(), removed, kept)
        except NotFollowedError as e:
            reason = str(e)
    return Compacted(copy.deepcopy(model).to(example_input.device).eval().requires_grad_(False), {}, {"": reason})


def _compact(
    network: nn.Module, images: Tensor, folded: bool, multiple: int
) -> tuple[nn.Module, dict[str, int], dict[str, str]]:
    traced = trace(network, images)
    expected, before = network(images.clone()), _widths(traced.module)
    kept_heads = split_attention(traced)
    if folded:
        fold_norms(traced)
    known = Constants(traced)
    needed = mark_live(known)
    mark_kept(known, needed, multiple)
    rewrite(known, needed)
    check(traced.module, images, expected, _OF_FOLDED_NORMS if folded else TOLERANCE)
    after = _widths(traced.module)
    removed = {name: width - after.get(name, 0) for name, width in before.items() if width > after.get(name, 0)}
    return traced.module, removed, kept_heads | _kept(known, needed, multiple)


def _widths(network: nn.Module) -> dict[str, int]:
    """Layer -> its output channels, features, or features of its attention heads."""
    widths = {}
    for name, module in network.named_modules(remove_duplicate=False):
        if isinstance(module, nn.MultiheadAttention):
            widths[name] = module.embed_dim
        elif isinstance(module, SplitAttention):
            widths[name] = module.out_proj.in_features
        elif isinstance(module, _ConvNd):
            widths[name] = module.out_channels
        elif isinstance(module, nn.Linear):
            widths[name] = module.out_features
    return widths


def _kept(known: Constants, needed: set[fx.Node], multiple: int) -> dict[str, str]:
    """Layer with channels that are constant, or that nothing reads, and are there yet -> the reason."""
    tied = (
        "tied to channels in use"
        if multiple == 1
        else f"tied to channels in use, or kept to have a multiple of {multiple}"
    )
    reasons = {}
    for node in known.layers:
        channels = known.channels[node]
        if node in needed and (channels.kept & ~(channels.live & channels.constant.isnan())).any():
            reasons[str(node.target)] = (channels.why or tied) if channels.live.any() else "one channel has to stay"
    followed = {str(node.target) for node in known.layers}
    kinds = {str(node.target): known.traced.kind(node) for node in known.traced.nodes}
    for name, module in known.traced.module.named_modules():
        if isinstance(module, (_ConvNd, nn.Linear)) and name not in followed and _has_dead_filters(module):
            reasons[name] = (
                "of what it reads nothing is known"
                if kinds.get(name) in LAYERS
                else "it is a layer of another kind, has hooks, or something else reads its weights"
            )
    return reasons


def _has_dead_filters(layer: Any) -> bool:
    return not bool(by_output(layer).flatten(1).any(1).all())
