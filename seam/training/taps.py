"""Values inside a network: where its stages end, and the network with these values as further outputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import fx

from seam.compaction.trace import Traced

_SIZES = ("size", "dim", "len")
_TOKEN_STAGES = 4
"""Parts that a row of blocks without a change of resolution is divided into."""


def stage_ends(traced: Traced) -> tuple[str, ...]:
    """Names of the values that end the stages of a network, from input to output.

    Of the values that every path from images to output goes through, up to the classifier, the last
    of each resolution: what the first layer of the next resolution reads, and what the final
    pooling reads. What a pooling alone makes of such a value is none of its own; a value that
    dropout made, or that is changed in place later, is passed over for the one before. Tokens keep
    their number: there, sums that every path goes through (residual blocks) end four parts of equal
    length.

    For torchvision's ResNets that is the stem and layer1 to layer4, for CIFAR's ResNets layer1 to
    layer3, for VGG what each pooling reads.

    Args:
        traced: the network.

    Returns:
        Names of nodes of `traced.module.graph`; none where no value is an image or tokens.
    """
    passed = _passed_by_all(traced)
    layers = [i for i, node in enumerate(passed) if _mixes_channels(traced, node)]
    inner = passed[: layers[-1]] if layers else []
    maps = [node for node in inner if _can_be_read(traced, node)]
    last = {traced.shapes[node][2:] if len(traced.shapes[node]) == 4 else traced.shapes[node][1]: node for node in maps}
    ends: list[fx.Node] = []
    order = {node: i for i, node in enumerate(traced.nodes)}
    for node in sorted(last.values(), key=order.__getitem__):
        since = order[ends[-1]] if ends else 0
        if not any(_mixes_channels(traced, n) for n in traced.nodes[since + 1 : order[node] + 1]):
            continue
        if len(traced.shapes[node]) == 3:
            ends += _evenly([n for n in maps if _joins(traced, n) and traced.shapes[n] == traced.shapes[node]])
        ends.append(node)
    return tuple(node.name for node in ends)


def tapped(module: fx.GraphModule, points: Sequence[str], output: bool = True) -> fx.GraphModule:
    """A network that returns values inside it as well; it shares the layers, in whatever mode they are.

    Args:
        module: a graph.
        points: names of its nodes.
        output: False: nothing is computed but for the values, and None stands for the output.

    Returns:
        (images) -> (output, [value at each point]).
    """
    graph, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    result = graph.graph_copy(module.graph, copies)
    by_name = {node.name: copies[node] for node in module.graph.nodes if node in copies}
    values = [by_name[name] for name in points]
    graph.output((result if output else None, values))
    found = fx.GraphModule(module, graph, "Tapped")
    found.graph.eliminate_dead_code()
    found.delete_all_unused_submodules()
    found.recompile()
    return found


def _passed_by_all(traced: Traced) -> list[fx.Node]:
    """The operations that every path from images to output goes through, in their order."""
    paths = _between(traced)
    order = {node: i for i, node in enumerate(paths)}
    passed, furthest = [], 0
    for i, node in enumerate(paths):
        if furthest <= i:
            passed.append(node)
        furthest = max([furthest, *(order.get(user, 0) for user in node.users)])
    return passed


def _between(traced: Traced) -> list[fx.Node]:
    """The operations between images and output that do more than ask for a size."""
    from_images: set[fx.Node] = set()
    for node in traced.nodes:
        about_size = traced.kind(node) in _SIZES or (node.target is getattr and node.args[1:] == ("shape",))
        if node.op == "placeholder" or (not about_size and from_images.intersection(node.all_input_nodes)):
            from_images.add(node)
    to_output: set[fx.Node] = set()
    for node in reversed(traced.nodes):
        if node.op == "output" or to_output.intersection(node.users):
            to_output.add(node)
    return [node for node in traced.nodes if node in from_images and node in to_output]


def _mixes_channels(traced: Traced, node: fx.Node) -> bool:
    """Whether it is a layer with weights between channels: a convolution, a linear layer, attention."""
    layer = traced.called(node)
    return layer is not None and any(parameter.dim() > 1 for parameter in layer.parameters())


def _can_be_read(traced: Traced, node: fx.Node) -> bool:
    """Whether it is an image with channels or a row of tokens, the same to all that read it, later too."""
    made = node.op != "placeholder" and len(traced.shapes.get(node, torch.Size())) in (3, 4)
    random = "dropout" in traced.kind(node) or any(
        "dropout" in traced.kind(user) and getattr(traced.called(user), "inplace", False) for user in node.users
    )
    return made and not random and node not in traced.changed


def _joins(traced: Traced, node: fx.Node) -> bool:
    """Whether it is the sum that ends a residual branch; a sum with a parameter is none."""
    return traced.kind(node) in ("add", "iadd") and all(n.op != "get_attr" for n in node.all_input_nodes)


def _evenly(blocks: list[fx.Node]) -> list[fx.Node]:
    """The ends of all parts but the last of a row of blocks."""
    return [blocks[len(blocks) * part // _TOKEN_STAGES - 1] for part in range(1, _TOKEN_STAGES)] if blocks else []
