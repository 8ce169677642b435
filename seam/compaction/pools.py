"""Pooling, means and norms by statistics of their input: what they do to channels."""

from __future__ import annotations

from typing import TypeAlias, cast

import torch
from torch import Tensor, fx

from seam.compaction.channels import Channels, Tie, beside_zeros, blockwise, one_to_one
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
    if norm is None or known.axis != 1 or groups == 1:
        return None
    tie = blockwise(source, groups, count // groups, count // groups)
    return 1, torch.full_like(known.constant, torch.nan), [tie]
