"""Parameters beside a network's values, added to or multiplied with them: class tokens, positions, layer scales."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn

from seam.compaction.channels import Channels, Tie, one_to_one
from seam.compaction.layers import parameter
from seam.compaction.operations import ARITHMETIC, CONCATENATIONS
from seam.compaction.trace import Traced

SPREAD = ("expand", "repeat", "to", "type", "float")
"""What may repeat a parameter, or give it another type, and leaves its channels as they are."""


def held_in(traced: Traced, node: fx.Node) -> nn.Parameter | None:
    """The parameter that `node` reads from the network; None: it does something else."""
    if node.op != "get_attr":
        return None
    value = traced.module
    for name in str(node.target).split("."):
        value = getattr(value, name)
    return value if isinstance(value, nn.Parameter) else None


def chain_to(traced: Traced, operand: fx.Node) -> list[fx.Node]:
    """From a parameter to `operand`, which is made of it alone; empty: it is not."""
    chain = [operand]
    while chain[-1].op in ("call_method", "call_function"):
        tensors = [n for n in chain[-1].all_input_nodes if n in traced.shapes]
        if len(tensors) != 1 or chain[-1].all_input_nodes[0] is not tensors[0]:
            return []
        chain.append(tensors[0])
    return [] if held_in(traced, chain[-1]) is None else chain[::-1]


def beside(traced: Traced, channels: Mapping[fx.Node, Channels], node: fx.Node) -> tuple[int, int] | None:
    """Of a sum, product or concatenation: the axis of the channels of what is known in it, from the last, and how many.

    None for scores of attention, to which tables of all heads are added.
    """
    if traced.kind(node) not in (*ARITHMETIC, *CONCATENATIONS):
        return None
    known = next((n for n in node.all_input_nodes if n in channels and n in traced.shapes), None)
    if known is None or channels[known].axis < 0:
        return None
    origin = known
    while traced.kind(origin) in ARITHMETIC:
        origin = origin.all_input_nodes[0]
    if traced.kind(origin) == "headscores":
        return None
    return len(traced.shapes[known]) - channels[known].axis, len(channels[known].constant)


def spread(traced: Traced, node: fx.Node, source: fx.Node, known: Channels) -> tuple[int, Tensor, list[Tie]] | None:
    """A parameter repeated along other axes than that of its channels."""
    before, after = traced.shapes[source], traced.shapes[node]
    axis = known.axis + len(after) - len(before)
    if not chain_to(traced, node) or before[known.axis] != after[axis]:
        return None
    return axis, known.constant, [one_to_one(source, len(known.constant))]


def zeros_of(value: Tensor, axis: int) -> Float[Tensor, " channels"]:
    """0 for the channels of a parameter that are zero altogether, NaN for the others, as they may train."""
    varying = value.movedim(axis, 0).reshape(value.shape[axis], -1).any(1)
    return torch.zeros(len(varying), dtype=value.dtype).masked_fill(varying, torch.nan)


def select_held(traced: Traced, node: fx.Node, channels: Channels) -> None:
    """Leave only the kept channels of a parameter."""
    value = held_in(traced, node)
    if value is not None and not channels.kept.all():
        owner, _, name = str(node.target).rpartition(".")
        left = value.index_select(channels.axis, channels.kept.nonzero()[:, 0])
        setattr(traced.module.get_submodule(owner), name, parameter(left))


def resize_spread(node: fx.Node, channels: Channels, rank: int) -> None:
    """Let what repeats a parameter take the number of its channels from it."""
    if str(node.target) == "expand":
        source, *sizes = node.args
        given = list(sizes[0]) if isinstance(sizes[0], list | tuple) else sizes
        given[channels.axis - rank] = -1
        node.args = (source, *given)
