"""Which channels of a traced network are constant, and which go together: from input to output.

An operation is a *layer* (convolution, linear), which mixes channels; or a *tie*, which maps
channels to channels; or it asks for a shape; everything else is a *barrier*: it reads every
channel, and of its result nothing is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn

from seam.compaction.apart import OVER_AXES, reduced, stacked
from seam.compaction.attending import FOLLOW_HEADS, attended
from seam.compaction.calls import Links, link_calls
from seam.compaction.channels import BY_HEADS, Blocks, Channels, Tie, beside_zeros, one_to_one
from seam.compaction.heads import ATTENTION, gather_heads
from seam.compaction.held import SPREAD, beside, chain_to, held_in, spread, zeros_of
from seam.compaction.joined import joined, padded
from seam.compaction.layers import Layer, constant_outputs, fold_constants, groups_of, is_zero_padded
from seam.compaction.movement import MOVES, SPLITS, gather_shuffles
from seam.compaction.moves import Moves
from seam.compaction.norms import is_across_channels, normalised_across
from seam.compaction.operations import (
    ACTIVATIONS,
    ARITHMETIC,
    CONCATENATIONS,
    OUT_OF_PLACE,
    POOLS,
    PRODUCTS,
    RESAMPLING,
    is_random,
)
from seam.compaction.pools import Tied, averaged, gated, normalised, normalised_over, pooled, resampled, shuffled
from seam.compaction.spelling import spell
from seam.compaction.trace import EACH_NORM, LAYERS, PER_CHANNEL, Traced


class Constants:
    """What is known of each value, given the values it is computed from.

    On the way the layers change, and compute the same: what constant channels add goes into biases,
    and the weights that read them become zero.

    Args:
        traced: the network.
        in_training: nothing is constant, as what is now changes while the network trains; but for
            what is zero because weights are, where norms read it: these zeros are to stay.

    Attributes:
        channels: what is known of each value that has channels.
        layers: those that are known; each has weights of its own now.
        ties: between the channels of values.
        blocks: of grouped convolutions, and of heads of attention.
        links: pairs of values whose channels go together, as the same layer makes or reads them, or
            as they are multiplied with each other and summed.
        whole: values that keep all their channels -> the reason.
        picked: operation that moves channels -> of each channel of its result, which of its source.
        pieces: split -> of each piece, its channels.
        fixed: sum or product of which nothing is known -> its operand that does not depend on the
            input.
    """

    def __init__(self, traced: Traced, in_training: bool = False) -> None:
        self.traced = traced
        self.in_training = in_training
        self._zeros_stay = any(is_across_channels(traced, node) for node in traced.nodes)
        self.channels: dict[fx.Node, Channels] = {}
        self.layers: dict[fx.Node, Layer] = {}
        self.ties: dict[fx.Node, list[Tie]] = {}
        self.blocks: list[Blocks] = []
        self.links: Links = []
        self.whole: dict[fx.Node, str] = {}
        moves = Moves(traced)
        self.picked, self.pieces = moves.picked, moves.pieces
        self.fixed: dict[fx.Node, fx.Node] = {}
        self._own: dict[int, nn.Parameter] = {}
        self._interpreter = fx.Interpreter(traced.module)
        self._rules: dict[str, Callable[[fx.Node, fx.Node, Channels], Tied]] = {
            **dict.fromkeys((*PER_CHANNEL, *ACTIVATIONS, *ARITHMETIC), self._pointwise),
            **dict.fromkeys(POOLS, partial(pooled, traced)),
            **dict.fromkeys(("softmax", "logsoftmax"), partial(normalised_over, traced)),
            **dict.fromkeys(MOVES, moves.move),
            **dict.fromkeys(SPLITS, moves.split),
            **dict.fromkeys(EACH_NORM, partial(normalised, traced)),
            **dict.fromkeys(("layernorm", "rmsnorm"), partial(normalised_across, traced)),
            **dict.fromkeys(CONCATENATIONS, partial(joined, traced, self.channels)),
            **dict.fromkeys(SPREAD, partial(spread, traced)),
            **dict.fromkeys(("pixelshuffle", "pixelunshuffle"), partial(shuffled, traced)),
            **{"mean": partial(averaged, traced), "pad": partial(padded, traced), "glu": partial(gated, traced)},
            **dict.fromkeys(OVER_AXES, partial(reduced, traced)),
            **dict.fromkeys(RESAMPLING, partial(resampled, traced)),
            **dict.fromkeys(("reshapeas", "viewas"), moves.move_as),
            "stack": partial(stacked, traced, self.channels),
            **{"splitheads": self._split_heads, "joinheads": self._join_heads},
        }
        spell(traced)
        gather_shuffles(traced)
        gather_heads(traced)
        for node in traced.nodes:
            if (node in traced.shapes or node in traced.pieces) and node.all_input_nodes:
                self._hold_operands(node)
                self._know(node, self._widest(node), traced.kind(node))

        links, whole = link_calls(traced, self.channels)
        self.whole |= whole
        self.links += links

    def along(self, node: fx.Node, axis: int) -> Channels | None:
        """What is known of a value whose channels are expected along `axis`."""
        channels = self.channels.get(node)
        return channels if channels is not None and channels.axis == axis else None

    def _channels(self, axis: int, constant: Float[Tensor, " channels"]) -> Channels:
        if self.in_training:
            changing = constant != 0 if self._zeros_stay else torch.ones_like(constant, dtype=torch.bool)
            constant = constant.masked_fill(changing, torch.nan)
        return Channels(axis, constant)

    def _widest(self, node: fx.Node) -> fx.Node:
        """The operand that a rule is about: the first, or of arithmetic the one of most channels that are known."""
        first = node.all_input_nodes[0]
        known = [n for n in node.all_input_nodes if n in self.channels]
        if self.traced.kind(node) not in ARITHMETIC or not known or self.channels[known[0]].axis == BY_HEADS:
            return first
        return max(known, key=lambda n: len(self.channels[n].constant))

    def _rank(self, node: fx.Node) -> int:
        return len(self.traced.shapes[node])

    def _from_last(self, node: fx.Node) -> int:
        """Where the channels of a value lie, so that those of operands of several ranks can be compared."""
        axis = self.channels[node].axis
        return axis if axis == BY_HEADS else self._rank(node) - axis

    def _know(self, node: fx.Node, source: fx.Node, kind: str) -> None:
        known = self.channels.get(source)
        by_heads = known is not None and known.axis == BY_HEADS
        rule = self._rules.get(kind) if not by_heads or kind in FOLLOW_HEADS else None
        tied = rule(node, source, known) if rule is not None and known is not None else None
        if kind in ATTENTION:
            self._know_attention(node)
        elif kind in LAYERS:
            self._know_layer(node, source, self.traced.called(node))
        elif tied is not None and known is not None:
            self.channels[node], self.ties[node] = self._channels(*tied[:2]), tied[2]
        elif node.target in OUT_OF_PLACE:
            self._fix_constant_operand(node)

    def _know_layer(self, node: fx.Node, source: fx.Node, layer: Layer) -> None:
        rank, groups = self._rank(node), groups_of(layer)
        axis = rank - 1 if isinstance(layer, nn.Linear) else 1
        known = self.along(source, axis)
        if not isinstance(layer, nn.Linear) and (rank != layer.weight.dim() or (groups > 1 and known is None)):
            return
        shared = self.traced.is_shared(node)
        self._take_weight(layer)
        if known is not None:
            if is_zero_padded(layer):
                beside_zeros(known)  # for the reason
            if not shared:
                fold_constants(layer, known.constant)
            if groups > 1:
                self.blocks.append(Blocks(source, node, groups))
        self.layers[node] = layer
        self.channels[node] = self._channels(axis, constant_outputs(layer))

    def _take_weight(self, layer: Layer) -> None:
        """Give a layer a weight of its own, not the given network's; layers that have one together keep that."""
        own = self._own.get(id(layer.weight))
        if own is None:
            own = nn.Parameter(layer.weight.clone(), requires_grad=False)
            self._own |= {id(layer.weight): own, id(own): own}
        layer.weight = own

    def _fix_constant_operand(self, node: fx.Node) -> None:
        """Of a sum or product with a value of which nothing is known, find the operand that is constant altogether."""
        operands = node.all_input_nodes
        if len(operands) != 2 or self.in_training:
            return
        for operand, other in (operands, operands[::-1]):
            known = self.channels.get(operand)
            if (
                known is not None
                and known.axis != BY_HEADS
                and not known.constant.isnan().any()
                and self.traced.shapes.get(other) == self.traced.shapes[node]
            ):
                self.fixed[node] = operand

    def _hold_operands(self, node: fx.Node) -> None:
        """Know the parameters among the operands of `node`, by the axis of what is known of another operand."""
        found = beside(self.traced, self.channels, node)
        for operand in node.all_input_nodes if found is not None else ():
            chain = chain_to(self.traced, operand) if operand not in self.channels else []
            if chain and found is not None:
                self._hold(chain, *found)

    def _hold(self, chain: list[fx.Node], from_last: int, count: int) -> None:
        """Know a parameter, and what is made of it, if its channels come to lie along an axis counted from the last."""
        root, operand = chain[0], chain[-1]
        value = held_in(self.traced, root)
        assert value is not None
        axes = [axis for axis in reversed(range(value.dim())) if value.shape[axis] == count]
        for axis in axes if root not in self.channels else [self.channels[root].axis]:
            new = [node for node in chain if node not in self.channels]
            if root in new:
                self.channels[root], self.ties[root] = self._channels(axis, zeros_of(value, axis)), []
            for node in [node for node in new if node is not root]:
                self._know(node, node.all_input_nodes[0], self.traced.kind(node))
            there = self.channels.get(operand)
            if there is not None and self._rank(operand) - there.axis == from_last and len(there.constant) == count:
                return
            for node in new:
                for kept in (self.channels, self.ties, self.picked):
                    kept.pop(node, None)

    def _pointwise(self, node: fx.Node, source: fx.Node, known: Channels) -> Tied:
        operands, count, from_last = node.all_input_nodes, len(known.constant), self._from_last(source)
        alike = [n for n in operands if (k := self.channels.get(n)) and len(k.constant) == count]
        alike = [n for n in alike if self._from_last(n) == from_last]
        axis, apart = BY_HEADS if from_last == BY_HEADS else self._rank(node) - from_last, set(operands) - set(alike)
        unlike = not all(self._is_one_for_all(n, from_last) for n in apart)
        if unlike or self._mixes(node, axis) or is_random(self.traced.kind(node), node):
            return None
        constants = torch.stack([self.channels[n].constant for n in alike])
        result = torch.full((count,), torch.nan) if apart else self._computed(node, alike)
        if self.traced.kind(node) in PRODUCTS:
            result[(constants == 0).any(0)] = 0
        self.whole |= {n: f"'{node.name}' reads every channel" for n in apart if n in self.channels}
        return axis, result, [one_to_one(n, count) for n in alike]

    def _is_one_for_all(self, operand: fx.Node, from_last: int) -> bool:
        """Whether an operand is the same for all channels, which lie along an axis counted from the last."""
        shape = self.traced.shapes.get(operand)
        known = shape is not None and from_last != BY_HEADS
        return known and shape is not None and (len(shape) < from_last or shape[len(shape) - from_last] == 1)

    def _computed(self, node: fx.Node, operands: Sequence[fx.Node]) -> Float[Tensor, " channels"]:
        """What an operation makes of constants; NaN where one of them is none, or the result is not finite."""
        shapes, constants = self.traced.shapes, torch.stack([self.channels[n].constant for n in operands])
        values = {n: self.channels[n].constant.clone().view(self.channels[n].shape(shapes[n])) for n in operands}
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
        result: Tensor = getattr(self._interpreter, node.op)(node.target, args, kwargs).flatten()
        result[constants.isnan().any(0) | ~result.isfinite()] = torch.nan
        return result

    def _mixes(self, node: fx.Node, axis: int) -> bool:
        """Whether an operation with numbers for each channel means another axis, or takes statistics of its input."""
        return self.traced.kind(node) in PER_CHANNEL and (
            axis != 1 or getattr(self.traced.called(node), "running_mean", 0) is None
        )

    def _split_heads(self, node: fx.Node, source: fx.Node, known: Channels) -> Tied:
        if known.axis != 2:
            return None
        self.blocks.append(Blocks(source, node, self.traced.shapes[node][1]))
        return BY_HEADS, known.constant, [one_to_one(source, len(known.constant))]

    def _join_heads(self, node: fx.Node, source: fx.Node, known: Channels) -> Tied:
        return (2, known.constant, [one_to_one(source, len(known.constant))]) if known.axis == BY_HEADS else None

    def _know_attention(self, node: fx.Node) -> None:
        found = attended(self.traced, self.channels, node)
        if found is not None:
            self.channels[node], self.ties[node] = self._channels(found.axis, found.constant), found.ties
            self.links += found.links
            self.blocks += found.blocks
