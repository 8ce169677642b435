"""Which channels of a traced network are constant, and which go together: from input to output.

An operation is a *layer* (convolution, linear), which mixes channels; or a *tie*, which maps
channels to channels; or it asks for a shape; everything else is a *barrier*: it reads every
channel, and of its result nothing is known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, cast

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn
from torch.nn import functional as F

from seam.compaction.calls import link_calls
from seam.compaction.channels import Channels, Tie, beside_zeros, blockwise, one_to_one, pad_position
from seam.compaction.layers import Layer, constant_outputs, fold_constants, groups_of, is_zero_padded
from seam.compaction.movement import MOVES, PICKS, SPLITS, VIEWS, gather_shuffles, has_sizes, moved, pieces
from seam.compaction.operations import ACTIVATIONS, ARITHMETIC, OUT_OF_PLACE, POOLS, PRODUCTS, TRAINING
from seam.compaction.trace import EACH_NORM, LAYERS, PER_CHANNEL, Traced

_Tied: TypeAlias = tuple[int, Tensor, list[Tie]] | None
"""The axis of a result's channels, their constants, and what they are tied to; None: a barrier."""


class Constants:
    """What is known of each value, given the values it is computed from.

    On the way the layers change, and compute the same: what constant channels add goes into biases,
    and the weights that read them become zero.

    Args:
        traced: the network.
        in_training: nothing is constant: what is now changes while the network trains.

    Attributes:
        channels: what is known of each value that has channels.
        layers: those that are known; each has weights of its own now.
        ties: between the channels of values.
        blocks: grouped convolution -> in how many groups it reads and makes channels.
        links: pairs of values whose channels go together, as the same layer makes or reads them.
        whole: values that keep all their channels -> the reason.
        picked: operation that moves channels -> of each channel of its result, which of its source.
        pieces: split -> of each piece, its channels.
        fixed: sum or product of which nothing is known -> its operand that does not depend on the
            input.
    """

    def __init__(self, traced: Traced, in_training: bool = False) -> None:
        self.traced = traced
        self._in_training = in_training
        self.channels: dict[fx.Node, Channels] = {}
        self.layers: dict[fx.Node, Layer] = {}
        self.ties: dict[fx.Node, list[Tie]] = {}
        self.blocks: dict[fx.Node, int] = {}
        self.picked: dict[fx.Node, Tensor] = {}
        self.pieces: dict[fx.Node, list[Tensor]] = {}
        self.fixed: dict[fx.Node, fx.Node] = {}
        self._own: dict[int, nn.Parameter] = {}
        self._interpreter = fx.Interpreter(traced.module)
        self._rules: dict[str, Callable[[fx.Node, fx.Node, Channels], _Tied]] = {
            **dict.fromkeys((*PER_CHANNEL, *ACTIVATIONS, *ARITHMETIC), self._pointwise),
            **dict.fromkeys(POOLS, self._pool),
            **dict.fromkeys(MOVES, self._move),
            **dict.fromkeys(SPLITS, self._split),
            **dict.fromkeys(EACH_NORM, self._normalise),
            **dict.fromkeys(("cat", "concat", "concatenate"), self._concatenate),
            **{"mean": self._mean, "pad": self._pad},
        }
        gather_shuffles(traced)
        for node in traced.nodes:
            if (node in traced.shapes or node in traced.pieces) and node.all_input_nodes:
                self._know(node, node.all_input_nodes[0], traced.kind(node))

        self.links, self.whole = link_calls(traced, self.channels)

    def along(self, node: fx.Node, axis: int) -> Channels | None:
        """What is known of a value whose channels are expected along `axis`."""
        channels = self.channels.get(node)
        return channels if channels is not None and channels.axis == axis else None

    def _channels(self, axis: int, constant: Float[Tensor, " channels"]) -> Channels:
        return Channels(axis, torch.full_like(constant, torch.nan) if self._in_training else constant)

    def _rank(self, node: fx.Node) -> int:
        return len(self.traced.shapes[node])

    def _know(self, node: fx.Node, source: fx.Node, kind: str) -> None:
        known = self.channels.get(source)
        tied = self._rules[kind](node, source, known) if kind in self._rules and known is not None else None
        if kind in LAYERS:
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
                self.blocks[node] = groups
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
        if len(operands) != 2:
            return
        for operand, other in (operands, operands[::-1]):
            known = self.channels.get(operand)
            if (
                known is not None
                and not known.constant.isnan().any()
                and self.traced.shapes.get(other) == self.traced.shapes[node]
            ):
                self.fixed[node] = operand

    def _pointwise(self, node: fx.Node, source: fx.Node, known: Channels) -> _Tied:
        operands, rank = node.all_input_nodes, self._rank(source)
        constants = [k.constant for n in operands if (k := self.along(n, known.axis)) and self._rank(n) == rank]
        if (
            len(constants) < len(operands)
            or len({len(c) for c in constants}) > 1
            or self._mixes(node, known.axis)
            or self._is_random(node)
        ):
            return None
        shape = [-1 if axis == known.axis else 1 for axis in range(rank)]
        values = {n: c.clone().view(shape) for n, c in zip(operands, constants, strict=True)}
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
        result = getattr(self._interpreter, node.op)(node.target, args, kwargs).flatten()
        result[torch.stack(constants).isnan().any(0) | ~result.isfinite()] = torch.nan
        if self.traced.kind(node) in PRODUCTS:
            result[(torch.stack(constants) == 0).any(0)] = 0
        return known.axis, result, [one_to_one(n, len(result)) for n in operands]

    def _mixes(self, node: fx.Node, axis: int) -> bool:
        """Whether an operation with numbers for each channel means another axis, or takes statistics of its input."""
        return self.traced.kind(node) in PER_CHANNEL and (
            axis != 1 or getattr(self.traced.called(node), "running_mean", 0) is None
        )

    def _is_random(self, node: fx.Node) -> bool:
        at = TRAINING.get(self.traced.kind(node))
        return (
            at is not None
            and node.op == "call_function"
            and node.kwargs.get("training", (*node.args, 1, 1, 1)[at]) is not False
        )

    def _pool(self, node: fx.Node, source: fx.Node, known: Channels) -> _Tied:
        if known.axis != 1 or self.traced.shapes[node][:2] != self.traced.shapes[source][:2]:
            return None
        exact = True
        if self.traced.kind(node) == "avgpool":
            pool = self.traced.called(node)
            exact = len(node.args) <= 3 and not node.kwargs  # no padding and no divisor
            if pool is not None:
                exact = not torch.tensor(pool.padding).any() and getattr(pool, "divisor_override", None) is None
        constant = known.constant if exact else beside_zeros(known)
        return 1, constant, [one_to_one(source, len(constant))]

    def _mean(self, node: fx.Node, source: fx.Node, known: Channels) -> _Tied:
        axes = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
        axes, rank = axes if isinstance(axes, list | tuple) else (axes,), self._rank(source)
        if not axes or not all(isinstance(a, int) and a % rank not in (0, known.axis) for a in axes):
            return None
        gone = 0 if self._rank(node) == rank else sum(cast("int", a) % rank < known.axis for a in axes)
        return known.axis - gone, known.constant, [one_to_one(source, len(known.constant))]

    def _move(self, node: fx.Node, source: fx.Node, known: Channels) -> _Tied:
        kind, shape = self.traced.kind(node), self.traced.shapes
        if kind == "getitem" and source in self.traced.pieces:
            at = node.args[1]
            if not isinstance(at, int):
                return None
            axis, of_source = known.axis, self.pieces[source][at]
        else:
            found = moved(self.traced, node, source, known)
            if found is None or (kind in VIEWS and not has_sizes(node, self._rank(node))):
                return None
            axis, of_source = found
            same = torch.equal(of_source, torch.arange(len(known.constant)))
            others = [[size for a, size in enumerate(shape[n]) if a != known.axis] for n in (source, node)]
            if kind in PICKS and not same and (axis != known.axis or others[0] != others[1]):
                return None
        self.picked[node] = of_source
        return axis, known.constant[of_source], [Tie(source, of_source, torch.arange(len(of_source)))]

    def _split(self, node: fx.Node, source: fx.Node, known: Channels) -> _Tied:
        parts = pieces(self.traced, node, source, known)
        if parts is None:
            return None
        self.pieces[node] = parts
        return known.axis, known.constant, [one_to_one(source, len(known.constant))]

    def _normalise(self, node: fx.Node, source: fx.Node, known: Channels) -> _Tied:
        """Each channel, or each group of channels, by its own statistics."""
        norm, count = self.traced.called(node), len(known.constant)
        groups = getattr(norm, "num_groups", count)
        if norm is None or known.axis != 1 or groups == 1:
            return None
        tie = blockwise(source, groups, count // groups, count // groups)
        return 1, torch.full_like(known.constant, torch.nan), [tie]

    def _concatenate(self, node: fx.Node, source: fx.Node, known: Channels) -> _Tied:
        parts, axis = cast("tuple[Any, Any]", (*node.args, node.kwargs.get("dim", 0), None)[:2])
        if not isinstance(parts, list | tuple) or not isinstance(axis, int) or axis % self._rank(source) != known.axis:
            return None
        constants = [k.constant for part in parts if (k := self.along(part, known.axis))]
        if len(constants) < len(parts):
            return None
        ends = torch.tensor([0, *map(len, constants)]).cumsum(0).tolist()
        ties = [one_to_one(part, len(c), end) for part, c, end in zip(parts, constants, ends, strict=False)]
        return known.axis, torch.cat(constants), ties

    def _pad(self, node: fx.Node, source: fx.Node, known: Channels) -> _Tied:
        widths = cast("Any", node.args[1]) if len(node.args) == 2 else ()
        zeros = node.kwargs.get("mode", "constant") == "constant" and not node.kwargs.get("value")
        if not widths or not zeros or not all(isinstance(w, int) and w >= 0 for w in widths):
            return None
        at = pad_position(known.axis, self._rank(source))
        before, after = (*widths, *[0] * (at + 2))[at : at + 2]
        at_border = any((*widths[:at], *widths[at + 2 :]))
        padded = F.pad(beside_zeros(known) if at_border else known.constant, (before, after))
        return known.axis, padded, [one_to_one(source, len(known.constant), before)]
