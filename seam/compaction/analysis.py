"""Which channels of a traced network have to stay: from output to input."""

from __future__ import annotations

import operator
from typing import Any

from jaxtyping import Bool
from torch import Tensor, fx

from seam.compaction.attending import read_by_attention
from seam.compaction.channels import BY_HEADS, Channels, even_out
from seam.compaction.constants import Constants
from seam.compaction.heads import ATTENTION
from seam.compaction.layers import Layer, read_inputs, silence
from seam.compaction.norms import is_across_channels
from seam.compaction.operations import ARITHMETIC, OUT_OF_PLACE


def mark_live(known: Constants) -> set[fx.Node]:
    """Set `live` of every channel that something which matters reads.

    Weights whose outputs nothing reads become zero. An operand of a sum or product that is constant
    in all live channels is freed from its tie, and goes into `known.fixed`.

    Returns:
        The operations whose results are needed.
    """
    needed: set[fx.Node] = set()
    for node, why in known.whole.items():
        known.channels[node].live[:] = True
        known.channels[node].why = why
    for node in reversed(known.traced.nodes):
        # What nothing uses is the output, an input or an assertion: the rest of it is gone already.
        if not node.users or any(user in needed and known.fixed.get(user) is not node for user in node.users):
            needed.add(node)
            _read(known, node)
    return needed


def mark_kept(known: Constants, needed: set[fx.Node], multiple: int = 1) -> None:
    """Set `kept` of every channel that is live or tied to a kept one, or needed to make groups even.

    Of each value at least one is, and a multiple of `multiple`, or all.
    """
    values = [channels for node, channels in known.channels.items() if node in needed]
    ties = [(tie, node) for node in known.ties if node in needed for tie in known.ties[node]]
    for channels in values:
        channels.kept = channels.live.clone()
    links = [link for link in known.links if needed.issuperset(link)]
    blocks = [b for b in known.blocks if b.made in needed]
    count = -1
    while count != (count := sum(int(channels.kept.sum()) for channels in values)):
        for tie, node in (*ties, *reversed(ties)):
            source, result = known.channels[tie.source].kept, known.channels[node].kept
            result[tie.of_result[source[tie.of_source]]] = True
            source[tie.of_source[result[tie.of_result]]] = True
        for b in blocks:
            even_out(known.channels[b.read].kept, known.channels[b.made].kept, b.number, b.all_stay)
        for one, other in links:
            known.channels[one].kept |= known.channels[other].kept
            known.channels[other].kept |= known.channels[one].kept
        for channels in values:
            channels.kept[0] |= not channels.kept.any()
            channels.kept[(~channels.kept).nonzero()[: -int(channels.kept.sum()) % multiple]] = True


def _read(known: Constants, node: fx.Node) -> None:
    """Mark the channels of its inputs that `node` needs."""
    channels = known.channels.get(node)
    if channels is None:
        _read_all(known, node)
    elif known.traced.kind(node) in ATTENTION:
        read_by_attention(known.traced, known.channels, node, known.ties[node])
    elif node in known.layers:
        _read_by_layer(known, node, known.layers[node], channels)
    elif is_across_channels(known.traced, node):
        _read_by_norm(known, node, channels)
    else:
        _untie_constant(known, node, channels.live)
        _read_tied(known, node, channels)


def _read_by_layer(known: Constants, node: fx.Node, layer: Layer, channels: Channels) -> None:
    if not known.traced.is_shared(node):
        silence(layer, ~channels.live)
    source = known.along(node.all_input_nodes[0], channels.axis)
    if source is None:
        _read_all(known, node)
    else:
        source.live |= read_inputs(layer)


def _read_by_norm(known: Constants, node: fx.Node, channels: Channels) -> None:
    """Its statistics are those of all channels that are not zero."""
    source = known.channels[known.ties[node][0].source]
    if channels.live.any():
        source.live |= source.constant != 0
    if bool((source.constant.nan_to_num() != 0).any()):
        source.why = source.why or f"not zero, and in the statistics of '{node.name}'"
    _read_tied(known, node, channels)


def _read_tied(known: Constants, node: fx.Node, channels: Channels) -> None:
    ties = known.ties[node]
    several = (
        f"tied to other channels by '{node.name}'" if len(ties) > 1 and known.traced.kind(node) in ARITHMETIC else ""
    )
    for tie in ties:
        source = known.channels[tie.source]
        source.live[tie.of_source[channels.live[tie.of_result]]] = True
        source.why = source.why or channels.why or several


def reads_every_channel(known: Constants, node: fx.Node) -> list[fx.Node]:
    """The values all of whose channels an operation reads of which nothing is known."""
    sources = [s for s in node.all_input_nodes if s in known.channels and known.fixed.get(node) is not s]
    shapes = known.traced.shapes  # of several pieces there is none
    return [
        s for s in sources if s not in shapes or not _asks_for_other_sizes(node, known.channels[s].axis, len(shapes[s]))
    ]


def _read_all(known: Constants, node: fx.Node) -> None:
    for source in reads_every_channel(known, node):
        known.channels[source].live[:] = True
        known.channels[source].why = "it is the output" if node.op == "output" else f"'{node.name}' reads every channel"


def _asks_for_other_sizes(node: fx.Node, axis: int, rank: int) -> bool:
    """Whether `node` is about the form of a value, and the number of channels is not used."""
    along = (1, 3) if axis == BY_HEADS else (axis,)

    def other(index: Any) -> bool:
        if isinstance(index, slice):
            ends = (index.start, index.stop, index.step)
            chosen = range(rank)[index] if all(end is None or isinstance(end, int) for end in ends) else range(rank)
            return not set(along) & set(chosen)
        return isinstance(index, int) and index % rank not in along

    if node.target is getattr and node.args[1:] in (("device",), ("dtype",)):
        return True
    size = node.op == "call_method" and node.target == "size"
    if size and len(node.args) == 2:
        return other(node.args[1])
    shape = (size and not node.kwargs) or (node.target is getattr and node.args[1:] == ("shape",))
    return shape and all(user.target is operator.getitem and other(user.args[1]) for user in node.users)


def _untie_constant(known: Constants, node: fx.Node, live: Bool[Tensor, " channels"]) -> None:
    """Free the channels of an operand of a sum or product if all that are live are constant."""
    ties, shapes = known.ties[node], known.traced.shapes
    if node.target not in OUT_OF_PLACE or len(ties) != 2 or known.channels[node].axis == BY_HEADS or known.in_training:
        return
    varying = [tie for tie in ties if known.channels[tie.source].constant[live].isnan().any()]
    if len(varying) == 1 and shapes[varying[0].source] == shapes[node]:
        (known.fixed[node],) = (tie.source for tie in ties if tie not in varying)
        known.ties[node] = varying
