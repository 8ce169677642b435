"""Which channels of a traced network are constant, and which go together: from input to output.

An operation is a *layer* (convolution, linear), which mixes channels; or a *tie*, which maps
channels to channels; or it asks for a shape; everything else is a *barrier*: it reads every
channel, and of its result nothing is known.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn
from torch.nn import functional as F

from seam.compaction.calls import link_calls
from seam.compaction.channels import Channels, Tie, beside_zeros, pad_position
from seam.compaction.layers import Layer, constant_outputs, fold_constants, groups_of, is_zero_padded
from seam.compaction.trace import LAYERS, PER_CHANNEL, Traced

_ACTIVATIONS = (
    *(
        "relu",
        "relu6",
        "leakyrelu",
        "elu",
        "selu",
        "celu",
        "gelu",
        "silu",
        "mish",
        "softplus",
        "sigmoid",
        "logsigmoid",
        "tanh",
        "hardtanh",
    ),
    *("hardswish", "hardsigmoid", "clamp", "identity", "contiguous", "clone", "detach", "dropout", "stochasticdepth"),
)
_PRODUCTS = ("mul", "imul")
ARITHMETIC = ("add", "iadd", "sub", "isub", "div", "truediv", "itruediv", *_PRODUCTS)
_POOLS = ("avgpool", "maxpool", "adaptiveavgpool", "adaptivemaxpool")
VIEWS = ("view", "reshape")
_TRAINING = {"dropout": 2, "stochasticdepth": 3}
"""Function that is random while training -> position of the argument that says so."""
OUT_OF_PLACE: dict[Any, Callable[..., Any]] = {
    **{operator.add: operator.add, operator.iadd: operator.add, torch.add: torch.add},
    **{operator.mul: operator.mul, operator.imul: operator.mul, torch.mul: torch.mul},
}
"""Sum or product, of which an operand can become a tensor of its own -> the same, not in place."""


_Tied: TypeAlias = tuple[Tensor, list[Tie]] | None
"""The constants of a result and what it is tied to; None: a barrier."""


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
        links: pairs of values whose channels go together, as the same layer makes or reads them.
        whole: values that keep all their channels -> the reason.
        fixed: sum or product of which nothing is known -> its operand that does not depend on the
            input.
    """

    def __init__(self, traced: Traced, in_training: bool = False) -> None:
        self.traced = traced
        self._in_training = in_training
        self.channels: dict[fx.Node, Channels] = {}
        self.layers: dict[fx.Node, Layer] = {}
        self.ties: dict[fx.Node, list[Tie]] = {}
        self.fixed: dict[fx.Node, fx.Node] = {}
        self._own: dict[int, nn.Parameter] = {}
        self._interpreter = fx.Interpreter(traced.module)
        self._rules: dict[str, Callable[[fx.Node, fx.Node, Channels], _Tied]] = {
            **dict.fromkeys((*PER_CHANNEL, *_ACTIVATIONS, *ARITHMETIC), self._pointwise),
            **dict.fromkeys(_POOLS, self._pool),
            **dict.fromkeys(("flatten", *VIEWS), self._flatten),
            **dict.fromkeys(("cat", "concat", "concatenate"), self._concatenate),
            **{"mean": self._mean, "pad": self._pad, "getitem": self._slice},
        }
        for node in traced.nodes:
            if node in traced.shapes and node.all_input_nodes:
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
            self.channels[node], self.ties[node] = self._channels(known.axis, tied[0]), tied[1]
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
                self.ties[node] = [Tie(source, block=len(known.constant) // groups, repeat=len(layer.weight) // groups)]
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
        if self.traced.kind(node) in _PRODUCTS:
            result[(torch.stack(constants) == 0).any(0)] = 0
        return result, [Tie(n) for n in operands]

    def _mixes(self, node: fx.Node, axis: int) -> bool:
        """Whether an operation with numbers for each channel means another axis, or takes statistics of its input."""
        return self.traced.kind(node) in PER_CHANNEL and (
            axis != 1 or getattr(self.traced.called(node), "running_mean", 0) is None
        )

    def _is_random(self, node: fx.Node) -> bool:
        at = _TRAINING.get(self.traced.kind(node))
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
        return known.constant if exact else beside_zeros(known), [Tie(source)]

    def _mean(self, node: fx.Node, source: fx.Node, known: Channels) -> _Tied:
        axes = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
        axes = axes if isinstance(axes, list | tuple) else (axes,)
        over_positions = all(isinstance(axis, int) and axis % self._rank(source) > 1 for axis in axes)
        return (known.constant, [Tie(source)]) if known.axis == 1 and axes and over_positions else None

    def _flatten(self, node: fx.Node, source: fx.Node, known: Channels) -> _Tied:
        before, after = self.traced.shapes[source], self.traced.shapes[node]
        if known.axis != 1 or after != (before[0], before[1:].numel()):
            return None
        pixels = before[2:].numel()
        return known.constant.repeat_interleave(pixels), [Tie(source, repeat=pixels)]

    def _concatenate(self, node: fx.Node, source: fx.Node, known: Channels) -> _Tied:
        parts, axis = cast("tuple[Any, Any]", (*node.args, node.kwargs.get("dim", 0), None)[:2])
        if not isinstance(parts, list | tuple) or not isinstance(axis, int) or axis % self._rank(source) != known.axis:
            return None
        constants = [k.constant for part in parts if (k := self.along(part, known.axis))]
        ends = torch.tensor([0, *map(len, constants)]).cumsum(0).tolist()
        return (
            (torch.cat(constants), [Tie(*tie) for tie in zip(parts, ends, strict=False)])
            if len(constants) == len(parts)
            else None
        )

    def _pad(self, node: fx.Node, source: fx.Node, known: Channels) -> _Tied:
        widths = cast("Any", node.args[1]) if len(node.args) == 2 else ()
        zeros = node.kwargs.get("mode", "constant") == "constant" and not node.kwargs.get("value")
        if not widths or not zeros or not all(isinstance(w, int) and w >= 0 for w in widths):
            return None
        at = pad_position(known.axis, self._rank(source))
        before, after = (*widths, *[0] * (at + 2))[at : at + 2]
        at_border = any((*widths[:at], *widths[at + 2 :]))
        return F.pad(beside_zeros(known) if at_border else known.constant, (before, after)), [
            Tie(source, offset=before)
        ]

    def _slice(self, node: fx.Node, source: fx.Node, known: Channels) -> _Tied:
        index = node.args[1] if isinstance(node.args[1], tuple) else (node.args[1],)
        other_axes = all(isinstance(i, slice) for i in index) and index[known.axis : known.axis + 1] in (
            (),
            (slice(None),),
        )
        return (known.constant, [Tie(source)]) if other_axes else None
