"""Operations that move channels: slices, splits, transpositions, views, shuffles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from jaxtyping import Int
from torch import Tensor, fx

from seam.compaction.channels import Channels
from seam.compaction.trace import Traced

VIEWS = ("view", "reshape", "unflatten")
SPLITS = ("split", "chunk", "tensorsplit")
PICKS = ("getitem", "indexselect", "flip", "roll", "channelshuffle", "narrow")
"""What may leave channels out, or change their order."""
MOVES = (*PICKS, *VIEWS, "flatten", "unsqueeze", "squeeze", "transpose", "permute", "swapaxes", "movedim", "t")


def moved(traced: Traced, node: fx.Node, source: fx.Node, known: Channels) -> tuple[int, Int[Tensor, " result"]] | None:
    """The axis along which the channels of a result lie, and the channel of `source` that each of them is.

    The operation is run on the numbers of the channels. None: they lie along several axes, or along
    that of the batch.
    """
    numbers = run_operation(traced, node, {source: numbered(traced, source, known)})
    return None if not isinstance(numbers, Tensor) else _along_one_axis(numbers, traced.shapes[source], known.axis)


def axis_in_view(traced: Traced, node: fx.Node, source: fx.Node, known: Channels) -> int | None:
    """The axis along which the channels of `source` lie in it, seen in the shape of `node`; None: in several."""
    shape = traced.shapes[source]
    if traced.shapes[node].numel() != shape.numel():
        return None
    found = _along_one_axis(numbered(traced, source, known).view(traced.shapes[node]), shape, known.axis)
    return None if found is None else found[0]


def pieces(traced: Traced, node: fx.Node, source: fx.Node, known: Channels) -> list[Int[Tensor, " piece"]] | None:
    """Of each piece of a split along the channels, which these are; None: it is another kind of split."""
    parts = run_operation(traced, node, {source: numbered(traced, source, known)})
    if parts is None:
        return None
    found = [_along(part, known.axis) for part in parts]
    return None if any(piece is None for piece in found) else cast("list[Tensor]", found)


def gather_shuffles(traced: Traced) -> None:
    """Make one selection of every chain of views and transpositions that only changes the order of channels."""
    for node in traced.nodes:
        root = _root(traced, node) if traced.kind(node) in (*VIEWS, "flatten") else None
        if root is None or root is node.all_input_nodes[0] or traced.shapes[root] != traced.shapes[node]:
            continue
        order = _order(traced, root, node)
        if order is None:
            continue
        name = f"{node.name}_order"
        traced.module.register_buffer(name, order, persistent=False)
        with traced.module.graph.inserting_before(node):
            index = traced.module.graph.get_attr(name)
        node.op, node.target, node.args, node.kwargs = "call_function", torch.index_select, (root, 1, index), {}
    traced.module.graph.eliminate_dead_code()


def pick(traced: Traced, node: fx.Node, channels: Channels, source: Channels, of_source: Tensor) -> None:
    """Let a node take from what is kept of its source the channels that are kept of its result.

    Args:
        traced: the network.
        node: it is changed in place.
        channels: of its result.
        source: of the value it reads.
        of_source: the channel of the source that each of the result's is.
    """
    place = source.kept.cumsum(0) - 1
    index = place[of_source[channels.kept]]
    read = node.all_input_nodes[0]
    node.kwargs = {}
    if len(index) and torch.equal(index, torch.arange(len(index)) + index[0]):
        node.op, node.target = "call_function", torch.narrow
        node.args = (read, channels.axis, int(index[0]), len(index))
        return
    name = f"{node.name}_kept"
    traced.module.register_buffer(name, index, persistent=False)
    with traced.module.graph.inserting_before(node):
        found = traced.module.graph.get_attr(name)
    node.op, node.target, node.args = "call_function", torch.index_select, (read, channels.axis, found)


def resize(node: fx.Node, channels: Channels, rank: int) -> None:
    """Put the number of kept channels into the sizes of a view."""
    if is_unflatten(node):
        axis, parts = cast("tuple[int, Any]", node.args[1:])
        sizes, at = list(parts), channels.axis - axis % (rank - len(parts) + 1)
        if 0 <= at < len(sizes):
            sizes[at] = int(channels.kept.sum())
            node.args = (node.args[0], axis, tuple(sizes))
        return
    sizes = list(_sizes(node))
    if len(sizes) == rank:
        sizes[channels.axis] = int(channels.kept.sum())
        node.op, node.target, node.kwargs = "call_function", torch.reshape, {}
        node.args = (node.args[0], tuple(sizes))


def has_sizes(node: fx.Node, rank: int) -> bool:
    """Whether the sizes of a view are given one by one."""
    given = len(node.args) == 3 if is_unflatten(node) else len(_sizes(node)) == rank
    return given and not node.kwargs


def is_unflatten(node: fx.Node) -> bool:
    """Whether an operation lays one axis out along several."""
    return node.target in ("unflatten", torch.unflatten)


def _sizes(node: fx.Node) -> Any:
    first = node.args[1] if len(node.args) > 1 else ()
    return first if isinstance(first, list | tuple) else node.args[1:]


def numbered(traced: Traced, source: fx.Node, known: Channels) -> Int[Tensor, ...]:
    """A value of the shape of `source` whose numbers are those of its channels."""
    shape = traced.shapes[source]
    along = [-1 if axis == known.axis else 1 for axis in range(len(shape))]
    return torch.arange(len(known.constant)).view(along).expand(shape).contiguous()


def run_operation(traced: Traced, node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
    """The result of an operation for these values; None where another one is not known, or it does not run."""
    found = dict(values)
    for n in node.all_input_nodes:
        if n not in found and n.op == "get_attr":
            found[n] = traced.module.get_buffer(str(n.target)) if "." not in str(n.target) else None
        elif n not in found:
            found[n] = traced.sizes.get(n)
    if any(value is None for value in found.values()):
        return None
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), found.__getitem__)
    try:
        if node.op == "call_module":
            return traced.called(node)(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        return cast("Any", node.target)(*args, **kwargs)
    except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError):
        return None


def _along_one_axis(numbers: Tensor, before: torch.Size, axis: int) -> tuple[int, Tensor] | None:
    varying = [
        a for a in range(numbers.dim()) if bool((numbers != numbers.narrow(a, 0, min(1, numbers.shape[a]))).any())
    ]
    if not varying and numbers.dim() == len(before) and numbers.shape[:axis] == before[:axis]:
        varying = [axis]  # one channel is left
    if len(varying) != 1 or varying == [0]:
        return None
    found = _along(numbers, varying[0])
    return None if found is None else (varying[0], found)


def _along(numbers: Tensor, axis: int) -> Tensor | None:
    """The numbers along an axis, if they are the same everywhere else."""
    first = numbers.movedim(axis, 0).reshape(numbers.shape[axis], -1)
    return first[:, 0].clone() if first.numel() and bool((first == first[:, :1]).all()) else None


def _root(traced: Traced, node: fx.Node) -> fx.Node | None:
    """The value that a chain of views and transpositions begins with."""
    while traced.kind(node) in (*VIEWS, "flatten", "transpose", "permute", "swapaxes", "contiguous", "movedim"):
        node = node.all_input_nodes[0]
    return node if node in traced.shapes else None


def _order(traced: Traced, root: fx.Node, node: fx.Node) -> Tensor | None:
    """The order of channels (axis 1) of `root` that a chain makes; None if it does more, or nothing."""
    shape = traced.shapes[root]
    chain = [node]
    while chain[-1].all_input_nodes[0] is not root:
        chain.append(chain[-1].all_input_nodes[0])
    value: Any = torch.arange(shape.numel()).view(shape)
    whole, before = value, root
    for step in reversed(chain):
        value = run_operation(traced, step, {before: value})
        before = step
        if value is None:
            return None
    if len(shape) < 3 or value.shape != shape:
        return None
    order = value[0].flatten(1)[:, 0] // shape[2:].numel()
    if not torch.equal(value, whole[:, order]) or torch.equal(value, whole):
        return None
    return cast("Tensor", order)
