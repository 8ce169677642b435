"""Operations that have several spellings, written in one that is known."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from seam.compaction.channels import Channels
from seam.compaction.movement import axis_in_view
from seam.compaction.trace import Traced

_ALONG: dict[str, Callable[..., Any]] = {"max": torch.amax, "min": torch.amin}
_OF_TWO: dict[str, Callable[..., Any]] = {"max": torch.maximum, "min": torch.minimum}
_PADS = (nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d)  # those of zeros are derived from them


def spell(traced: Traced) -> None:
    """Write extremes, padding and questions about sizes in one way, in place."""
    for node in traced.nodes:
        kind, layer = traced.kind(node), traced.called(node)
        if kind in _ALONG:
            _spell_extreme(traced, node, kind)
        elif kind == "getitem":
            _spell_size(traced, node)
        elif isinstance(layer, _PADS) and kind:
            node.op, node.target = "call_function", F.pad
            node.args, node.kwargs = (node.args[0], tuple(layer.padding)), {"value": float(layer.value)}
    traced.module.graph.eliminate_dead_code()


def name_sizes(traced: Traced, node: fx.Node, source: fx.Node, known: Channels) -> None:
    """Write a view of the shape of another value as one of sizes, asked of it but for the first and the channels'."""
    along = axis_in_view(traced, node, source, known)
    other = node.args[1] if len(node.args) == 2 else None
    if along is None or not isinstance(other, fx.Node):
        return
    sizes: list[Any] = [-1, *traced.shapes[node][1:]]
    with traced.module.graph.inserting_before(node):
        for axis in range(1, len(sizes)):
            if axis != along:
                asked = traced.module.graph.call_method("size", (other, axis))
                traced.sizes[asked], sizes[axis] = sizes[axis], asked
    node.op, node.target, node.args = "call_method", "reshape", (source, *sizes)


def _spell_size(traced: Traced, node: fx.Node) -> None:
    """One of some sizes of a value (`x.shape[:2][0]`) as one of all."""
    some, at = node.args
    if not isinstance(some, fx.Node) or some.target is not operator.getitem or not isinstance(at, int):
        return
    every, chosen = some.args
    if isinstance(every, fx.Node) and isinstance(chosen, slice) and not some.kwargs and _are_sizes(every):
        rank = len(traced.shapes[every.all_input_nodes[0]])
        if not {chosen.start, chosen.stop, chosen.step} & set(traced.nodes):
            node.args = (every, range(rank)[chosen][at])


def _are_sizes(node: fx.Node) -> bool:
    if node.op == "call_method":
        return node.target == "size" and len(node.args) == 1
    return node.target is getattr and str(node.args[1]) == "shape"


def _spell_extreme(traced: Traced, node: fx.Node, kind: str) -> None:
    values = [a for a in (*node.args, *node.kwargs.values()) if isinstance(a, fx.Node)]
    if len(values) == 2 and not node.kwargs and all(value in traced.shapes for value in values):
        node.op, node.target = "call_function", _OF_TWO[kind]
        return
    given = dict(zip(("input", "dim", "keepdim"), node.args, strict=False)) | node.kwargs
    dim, keep = given.get("dim"), given.get("keepdim", False)
    users = list(node.users)
    if len(values) != 1 or not isinstance(dim, int) or not users or not all(map(_takes_values, users)):
        return
    with traced.module.graph.inserting_before(node):
        found = traced.module.graph.call_function(_ALONG[kind], (values[0], dim, keep))
    traced.shapes[found] = traced.shapes[users[0]]
    for user in users:
        user.replace_all_uses_with(found)


def _takes_values(user: fx.Node) -> bool:
    """Whether it is about the numbers of an extreme, not about where they are."""
    at = user.args[1] if len(user.args) > 1 else None
    is_first = user.target is operator.getitem and isinstance(at, int) and at == 0
    return is_first or (user.target is getattr and isinstance(at, str) and at == "values")
