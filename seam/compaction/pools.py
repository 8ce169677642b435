"""Pooling, means, norms by statistics of their input, gates and pixel shuffles: what they do to channels."""

from __future__ import annotations

from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, fx

from seam.compaction.channels import Channels, Tie, beside_zeros, blockwise, one_to_one
from seam.compaction.norms import normalised_across
from seam.compaction.trace import Traced

Tied: TypeAlias = tuple[int, Tensor, list[Tie]] | None
"""The axis of a result's channels, their constants, and what they are tied to; None: a barrier."""


def pooled(traced: Traced, node: fx.Node, source: fx.Node, known: Channels) -> Tied:
    """Each channel by itself, but for pools over other axes than the images'."""
    if known.axis != 1 or traced.shapes[node][:2] != traced.shapes[source][:2]:
        return None
    exact = True
    if traced.kind(node) == "avgpool":
        pool = traced.called(node)
        exact = len(node.args) <= 3 and not node.kwargs  # no padding and no divisor
        if pool is not None:
            exact = not torch.tensor(pool.padding).any() and getattr(pool, "divisor_override", None) is None
    constant = known.constant if exact else beside_zeros(known)
    return 1, constant, [one_to_one(source, len(constant))]


def resampled(traced: Traced, node: fx.Node, source: fx.Node, known: Channels) -> Tied:
    """Each channel by itself, in another size made of its own numbers: what is the same everywhere stays so."""
    if known.axis != 1 or traced.shapes[node][:2] != traced.shapes[source][:2]:
        return None
    return 1, known.constant, [one_to_one(source, len(known.constant))]


def averaged(traced: Traced, node: fx.Node, source: fx.Node, known: Channels) -> Tied:
    """Means over other axes than that of the channels and that of the batch."""
    axes = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    axes, rank = axes if isinstance(axes, list | tuple) else (axes,), len(traced.shapes[source])
    if not axes or not all(isinstance(a, int) and a % rank not in (0, known.axis) for a in axes):
        return None
    gone = 0 if len(traced.shapes[node]) == rank else sum(cast("int", a) % rank < known.axis for a in axes)
    return known.axis - gone, known.constant, [one_to_one(source, len(known.constant))]


def normalised_over(traced: Traced, node: fx.Node, source: fx.Node, known: Channels) -> Tied:
    """Softmax over another axis than that of the channels."""
    layer = traced.called(node)
    axis = getattr(layer, "dim", None) if layer is not None else node.kwargs.get("dim", (*node.args, None, None)[1])
    if not isinstance(axis, int) or axis % len(traced.shapes[source]) in (0, known.axis):
        return None
    return known.axis, torch.full_like(known.constant, torch.nan), [one_to_one(source, len(known.constant))]


def normalised(traced: Traced, node: fx.Node, source: fx.Node, known: Channels) -> Tied:
    """Each channel, or each group of channels, by its own statistics."""
    norm, count = traced.called(node), len(known.constant)
    groups = getattr(norm, "num_groups", count)
    if groups == 1:
        return normalised_across(traced, node, source, known)
    if norm is None or known.axis != 1:
        return None
    tie = blockwise(source, groups, count // groups, count // groups)
    return 1, torch.full_like(known.constant, torch.nan), [tie]


def gated(traced: Traced, node: fx.Node, source: fx.Node, known: Channels) -> Tied:
    """Gated linear units (GLU): the first half of the channels, each times the sigmoid of one of the second."""
    layer = traced.called(node)
    axis: Any = layer.dim if layer is not None else node.kwargs.get("dim", (*node.args, -1)[1])
    if axis % len(traced.shapes[source]) != known.axis:
        return None
    one, gate = known.constant.chunk(2)
    constant = (one * gate.sigmoid()).masked_fill(one == 0, 0)
    count = len(one)
    halves = (torch.arange(count), torch.arange(count) + count)
    return known.axis, constant, [Tie(source, half, torch.arange(count)) for half in halves]


def shuffled(traced: Traced, node: fx.Node, source: fx.Node, known: Channels) -> Tied:
    """Pixels made of channels (pixel shuffle), or channels of pixels: several channels for one."""
    if known.axis != 1 or len(traced.shapes[source]) != 4:
        return None
    before, after = len(known.constant), traced.shapes[node][1]
    if after < before:
        ratio = before // after
        of_each = known.constant.view(after, ratio)
        constant = of_each[:, 0].masked_fill((of_each != of_each[:, :1]).any(1), torch.nan)
        return 1, constant, [Tie(source, torch.arange(before), torch.arange(before) // ratio)]
    ratio = after // before
    of_source = torch.arange(before).repeat_interleave(ratio)
    return 1, known.constant[of_source], [Tie(source, of_source, torch.arange(after))]
