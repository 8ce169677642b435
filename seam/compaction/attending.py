"""Attention: which channels of queries, keys and values, and which heads, go together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

from seam.compaction.channels import BY_HEADS, Blocks, Channels, Tie, one_to_one
from seam.compaction.operations import ACTIVATIONS, ARITHMETIC
from seam.compaction.trace import Traced

FOLLOW_HEADS = (*ACTIVATIONS, *ARITHMETIC, "joinheads")
"""Operations whose rules hold for values by heads too."""


@dataclass(frozen=True)
class Attended:
    """What is known of the result of a product in an attention."""

    axis: int
    constant: Tensor
    ties: list[Tie] = field(default_factory=list)
    links: list[tuple[fx.Node, fx.Node]] = field(default_factory=list)
    blocks: list[Blocks] = field(default_factory=list)


def attended(traced: Traced, channels: Mapping[fx.Node, Channels], node: fx.Node) -> Attended | None:
    """What goes together in a product of queries and keys, of weights and values, or in all that; None: a barrier.

    Queries and keys have the same features. A head is left as a whole: its weights, and as many
    features as of every other head.
    """
    read = tuple(n for n in node.args if isinstance(n, fx.Node))
    if traced.kind(node) == "headmix":
        return _mixed(traced, channels, node, *read)
    found = [channels[n] for n in read if n in channels and channels[n].axis == BY_HEADS]
    if len(found) < len(read) or len(read) < 2 or len(found[0].constant) != len(found[1].constant):
        return None
    heads, links = traced.shapes[read[0]][1], [(read[0], read[1])]
    blocks = [Blocks(read[0], node, heads)]
    if traced.kind(node) == "headscores":
        return Attended(1, found[0].constant.new_full((heads,), torch.nan), [], links, blocks)
    masks = [n for n in node.all_input_nodes if n not in read]
    if len(read) != 3 or any(n in channels for n in masks):
        return None
    ties = [one_to_one(read[2], len(found[2].constant))]
    return Attended(BY_HEADS, _averaged(found[2], bool(masks)), ties, links, blocks)


def read_by_attention(traced: Traced, channels: Mapping[fx.Node, Channels], node: fx.Node, ties: list[Tie]) -> None:
    """Mark the heads, and of queries and keys the features, that a product in an attention needs.

    Of a feature that is zero in the queries, or in the keys, the other is not needed.
    """
    kind, live, read = traced.kind(node), channels[node].live, node.all_input_nodes
    for tie in ties:
        channels[tie.source].live[tie.of_source[live[tie.of_result]]] = True
    if kind == "headmix":
        weights = channels.get(read[0])
        if weights is not None:
            weights.live |= live.view(len(weights.live), -1).any(1)
        return
    query, key = channels[read[0]], channels[read[1]]
    heads = live.view(traced.shapes[read[0]][1], -1).any(1)
    needed = heads.repeat_interleave(len(query.live) // len(heads)) & (query.constant != 0) & (key.constant != 0)
    query.live |= needed
    key.live |= needed


def _mixed(
    traced: Traced, channels: Mapping[fx.Node, Channels], node: fx.Node, weights: fx.Node, values: fx.Node
) -> Attended | None:
    value, of_heads, heads = channels.get(values), channels.get(weights), traced.shapes[values][1]
    if value is None or value.axis != BY_HEADS:
        return None
    if of_heads is not None and (of_heads.axis != 1 or len(of_heads.constant) != heads):
        return None
    constant = value.constant.masked_fill(value.constant != 0, torch.nan)
    blocks = Blocks(values, node, heads, all_stay=True) if of_heads is None else Blocks(weights, node, heads)
    return Attended(BY_HEADS, constant, [one_to_one(values, len(constant))], [], [blocks])


def _averaged(value: Channels, masked: bool) -> Tensor:
    """Weights that sum to one leave what is the same for all tokens; where a mask may leave out all, only zero."""
    return value.constant.masked_fill(value.constant != 0, torch.nan) if masked else value.constant
