"""What is not kept taken out of a traced network, and the result compared with it."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from seam.compaction.channels import Channels, pad_position
from seam.compaction.constants import Constants
from seam.compaction.held import SPREAD, resize_spread, select_held
from seam.compaction.layers import select, select_per_channel
from seam.compaction.movement import PICKS, VIEWS, pick, resize
from seam.compaction.norms import is_across_channels, of_some
from seam.compaction.operations import OUT_OF_PLACE
from seam.compaction.trace import EACH_NORM, PER_CHANNEL, NotFollowedError


def rewrite(known: Constants, needed: set[fx.Node]) -> None:
    """Take what is not kept out of the layers, and what is not needed out of the graph."""
    done: set[nn.Module] = set()
    weights: dict[nn.Parameter, nn.Parameter] = {}
    for node, channels in known.channels.items():
        module = known.traced.called(node)
        if node in needed and module not in done:
            before = module.weight if node in known.layers else None
            _shrink(known, node, channels)
            if module is not None:
                done.add(module)
            if before is not None:  # layers that have one together still do
                module.weight = weights.setdefault(before, module.weight)
    for node, operand in known.fixed.items():
        if node in needed:
            _put_constant(known, node, operand)
    known.traced.clean()


def _shrink(known: Constants, node: fx.Node, channels: Channels) -> None:
    """Select the kept channels in whatever `node` holds one of for each channel."""
    if node.op == "get_attr":
        select_held(known.traced, node, channels)
        return
    source, kind = node.all_input_nodes[0], known.traced.kind(node)
    if node in known.layers:
        inputs = known.along(source, channels.axis)
        select(known.layers[node], channels.kept, None if inputs is None else inputs.kept)
    elif is_across_channels(known.traced, node):
        if not channels.kept.all():
            known.traced.module.set_submodule(str(node.target), of_some(known.traced.called(node), channels.kept))
    elif kind in SPREAD:
        resize_spread(node, channels, len(known.traced.shapes[node]))
    elif kind in (*PER_CHANNEL, *EACH_NORM):
        select_per_channel(known.traced.called(node), channels.kept)
    elif kind == "splitheads":
        node.args = (source, int(channels.kept.view(known.traced.shapes[node][1], -1).any(1).sum()))
    elif kind == "pad":
        _shrink_padding(known, node, source, channels)
    elif node in known.pieces:
        _shrink_pieces(known, node, channels)
    elif node in known.picked and source not in known.pieces:
        _shrink_moved(known, node, source, channels)


def _shrink_pieces(known: Constants, node: fx.Node, channels: Channels) -> None:
    """Split into as many channels as are kept of each piece."""
    parts, whole = known.pieces[node], torch.arange(len(channels.kept))
    if not channels.kept.all() and not all(torch.equal(part, whole) for part in parts):
        sizes = [int(channels.kept[part].sum()) for part in parts]
        read = node.all_input_nodes[0]
        node.op, node.target, node.args, node.kwargs = "call_function", torch.split, (read, sizes, channels.axis), {}


def _shrink_moved(known: Constants, node: fx.Node, source: fx.Node, channels: Channels) -> None:
    kind, of_source, shapes = known.traced.kind(node), known.picked[node], known.traced.shapes
    read = known.channels[source]
    if kind in VIEWS and shapes[node] == (shapes[source][0], shapes[source][1:].numel()):
        node.op, node.target, node.args, node.kwargs = "call_function", torch.flatten, (source, 1), {}
    elif kind in VIEWS and not channels.kept.all():
        resize(node, channels, len(shapes[node]))
    elif kind in PICKS and not torch.equal(of_source, torch.arange(len(read.kept))) and not read.kept.all():
        pick(known.traced, node, channels, read, of_source)


def _shrink_padding(known: Constants, node: fx.Node, source: fx.Node, channels: Channels) -> None:
    """Pad with as many channels of zeros as are kept."""
    widths = list(cast("tuple[int, ...]", node.args[1]))
    at, first = pad_position(channels.axis, len(known.traced.shapes[source])), int(known.ties[node][0].of_result[0])
    last = first + len(known.channels[source].kept)
    if at < len(widths):
        widths[at : at + 2] = [int(channels.kept[:first].sum()), int(channels.kept[last:].sum())]
    node.args = (source, tuple(widths))


def _put_constant(known: Constants, node: fx.Node, operand: fx.Node) -> None:
    """Put a tensor in the place of an operand of a sum or product."""
    source, traced, name = known.channels[operand], known.traced.module, f"{node.name}_constant"
    values = source.constant.nan_to_num()  # NaN: not live
    if node in known.channels:
        values = values[known.channels[node].kept]
    shape = [-1 if axis == source.axis else 1 for axis in range(len(known.traced.shapes[operand]))]
    traced.register_buffer(name, values.view(shape))
    with traced.graph.inserting_before(node):
        node.replace_input_with(operand, traced.graph.get_attr(name))
    node.target = OUT_OF_PLACE[node.target]


def check(smaller: nn.Module, images: Tensor, expected: Any, tolerance: float) -> None:
    """Compare the smaller network's outputs with the given one's; NotFollowedError where they differ."""
    try:
        got = smaller(images.clone())
    except Exception as e:  # torch raises many kinds when shapes do not fit
        raise NotFollowedError(f"the smaller network does not run: {' '.join(str(e).split())[:160]}") from e
    for one, other in zip(*(_values(output) for output in (got, expected)), strict=True):
        difference = float((one - other).abs().max()) if one.shape == other.shape else torch.inf
        if not difference <= tolerance * float(other.abs().max()):  # also when it is NaN
            raise NotFollowedError(f"the smaller network differs by {difference:.3g}")


def _values(output: Any) -> list[Tensor]:
    return [value for value in tree_leaves(output) if isinstance(value, Tensor)]
