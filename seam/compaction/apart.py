"""Channels laid out along several axes, or values beside each other: several channels that go together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, fx

from seam.compaction.channels import BY_HEADS, Channels, Tie, one_to_one
from seam.compaction.movement import numbered, run_operation
from seam.compaction.pools import Tied, averaged
from seam.compaction.trace import Traced

OVER_AXES = ("amax", "amin", "sum")
"""What makes one number of those along some axes; so do means."""
_NAMED_AXIS = (*OVER_AXES, "mean", "softmax", "logsoftmax")


def laid_apart(traced: Traced, node: fx.Node, source: fx.Node, known: Channels) -> Tied:
    """A view that lays channels out along several axes: those of one place along the longest go together.

    Not along one that is summed over next, or the like. So a maximum over every k channels, or over
    k blocks of them, loses k channels of its input for one of its result.
    """
    numbers = run_operation(traced, node, {source: numbered(traced, source, known)})
    if not isinstance(numbers, Tensor) or bool((numbers != numbers[:1]).any()):
        return None
    closed = {axis % numbers.dim() for user in node.users for axis in _axes(traced, user)}
    axes = sorted(set(range(1, numbers.dim())) - closed, key=lambda axis: -numbers.shape[axis])
    for axis in axes:
        place = _places(numbers, axis, len(known.constant))
        if place is not None:
            constant = _of_each(known.constant, place, numbers.shape[axis])
            return axis, constant, [Tie(source, torch.arange(len(place)), place)]
    return None


def reduced(traced: Traced, node: fx.Node, source: fx.Node, known: Channels) -> Tied:
    """The largest, least or total over other axes than that of the channels and that of the batch."""
    found = averaged(traced, node, source, known)
    if found is None or traced.kind(node) != "sum":
        return found
    axis, constant, ties = found
    number = traced.shapes[source].numel() // traced.shapes[node].numel()
    return axis, constant * number, ties


def stacked(
    traced: Traced, channels: Mapping[fx.Node, Channels], node: fx.Node, source: fx.Node, known: Channels
) -> Tied:
    """Values along a new axis: a channel of the result is that of each of them."""
    parts, axis = cast("tuple[Any, Any]", (*node.args, node.kwargs.get("dim", 0), None)[:2])
    if not isinstance(parts, list | tuple) or not isinstance(axis, int) or not axis % len(traced.shapes[node]):
        return None
    found = [channels[part] for part in parts if part in channels]
    if len(found) < len(parts) or {c.axis for c in found} != {known.axis} or known.axis == BY_HEADS:
        return None
    constants = torch.stack([c.constant for c in found])
    constant = constants[0].masked_fill((constants != constants[0]).any(0), torch.nan)
    at = known.axis + (axis % len(traced.shapes[node]) <= known.axis)
    return at, constant, [one_to_one(part, len(constant)) for part in parts]


def _axes(traced: Traced, node: fx.Node) -> list[int]:
    """Those that an operation makes one number of, or takes together."""
    if traced.kind(node) not in _NAMED_AXIS:
        return []
    layer = traced.called(node)
    axes = getattr(layer, "dim", None) if layer is not None else node.kwargs.get("dim", (*node.args, None, None)[1])
    axes = axes if isinstance(axes, list | tuple) else (axes,)
    return [axis for axis in axes if isinstance(axis, int)]


def _places(numbers: Tensor, axis: int, count: int) -> Int[Tensor, " channels"] | None:
    """Where each channel lies along an axis; None: not in one place, or all in the same."""
    along = torch.arange(numbers.shape[axis]).view([-1 if a == axis else 1 for a in range(numbers.dim())])
    along = along.expand(numbers.shape).flatten()
    place = torch.full((count,), -1)
    place[numbers.flatten()] = along
    is_one = bool((place[numbers.flatten()] == along).all()) and bool((place >= 0).all())
    return place if is_one and numbers.shape[axis] > 1 else None


def _of_each(constant: Float[Tensor, " channels"], place: Int[Tensor, " channels"], count: int) -> Tensor:
    """What the channels of a place have in common."""
    order = place.argsort(stable=True)
    of_each = constant[order].view(count, -1)
    return of_each[:, 0].masked_fill((of_each != of_each[:, :1]).any(1), torch.nan)
