"""Several networks on the same images as one: what they compute alike is computed once."""

from __future__ import annotations

import copy
import operator
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from seam.checkpoint import fingerprint

TOLERANCE = 1e-6
"""Largest difference from the networks one by one, relative to the largest output."""
_OUT_OF_PLACE: dict[Any, Any] = {operator.iadd: operator.add, operator.imul: operator.mul, operator.isub: operator.sub}


class Stacked(nn.Module):
    """The outputs of several networks beside each other, each network run by itself."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor) -> Tensor:
        """All outputs, (batch, all columns)."""
        return torch.cat([network(images) for network in self.networks], 1)


@torch.no_grad()
def side_by_side(networks: Sequence[nn.Module], example: Tensor) -> nn.Module:
    """One network with the outputs of all beside each other, (batch, all columns).

    Operations of traced networks (`torch.fx.GraphModule`) that do the same with the same weights on
    the same values become one. The result is compared with the networks one by one; where it
    differs it is `Stacked`.

    Args:
        networks: in eval mode; they are not changed.
        example: images as all of them take them; only shape and type are used.
    """
    stacked = Stacked([copy.deepcopy(network) for network in networks]).eval()
    images = torch.randn((3, *example.shape[1:]), generator=torch.Generator().manual_seed(0)).to(example.dtype)
    expected = stacked(images.clone())
    merged = _Merging().merge([copy.deepcopy(network) for network in networks])
    got = merged(images.clone())
    close = got.shape == expected.shape and float((got - expected).abs().max()) <= TOLERANCE * float(
        expected.abs().max()
    )
    return merged if close else stacked


class _Merging:
    """A graph that grows by the operations of one network after the other, each operation once."""

    def __init__(self) -> None:
        self.root, self.graph = nn.Module(), fx.Graph()
        self.images = self.graph.placeholder("input")
        self.known: dict[Hashable, fx.Node] = {}

    def merge(self, networks: Sequence[nn.Module]) -> nn.Module:
        """All of them."""
        ends = [self._add(network, f"part{i}") for i, network in enumerate(networks)]
        self.graph.output(self.graph.call_function(torch.cat, (ends, 1)))
        made = fx.GraphModule(self.root, self.graph, "Merged")
        return made.eval().requires_grad_(False)

    def _add(self, network: nn.Module, name: str) -> fx.Node:
        if not isinstance(network, fx.GraphModule):
            self.root.add_module(name, network)
            return self.graph.call_module(name, (self.images,))
        placed: dict[fx.Node, fx.Node] = {}
        for node in network.graph.nodes:
            if node.op == "placeholder":
                placed[node] = self.images
            elif node.op == "output":
                return placed[node.args[0]]
            else:
                placed[node] = self._place(network, node, placed, name)
        raise AssertionError("a graph without an output")

    def _place(self, network: fx.GraphModule, node: fx.Node, placed: dict[fx.Node, fx.Node], name: str) -> fx.Node:
        """The operation in the graph; the one that is there where it is the same."""
        _without_changes_in_place(network, node)
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), placed.__getitem__)
        key = (node.op, _what(network, node), repr(args), repr(sorted(kwargs.items())))
        if key not in self.known:
            target = node.target
            if node.op in ("call_module", "get_attr"):
                target = f"{name}.{node.target}"
                self._hold(target, network, str(node.target))
            self.known[key] = self.graph.create_node(node.op, target, args, kwargs)
        return self.known[key]

    def _hold(self, path: str, network: fx.GraphModule, target: str) -> None:
        """Put a layer or tensor of `network` into the root, under its path."""
        *parents, leaf = path.split(".")
        place = self.root
        for parent in parents:
            if not hasattr(place, parent):
                place.add_module(parent, nn.Module())
            place = place.get_submodule(parent)
        held = _get(network, target)
        if isinstance(held, nn.Parameter):
            place.register_parameter(leaf, held)
        elif isinstance(held, Tensor):
            place.register_buffer(leaf, held)
        else:
            place.add_module(leaf, held)


def _get(network: nn.Module, path: str) -> Any:
    return operator.attrgetter(path)(network)


def _what(network: fx.GraphModule, node: fx.Node) -> Hashable:
    """What an operation does: layers of one kind with the same numbers and weights do the same."""
    if node.op == "get_attr":
        return fingerprint(_get(network, str(node.target)))
    if node.op == "call_module":
        layer = network.get_submodule(str(node.target))
        return f"{type(layer).__module__}.{layer!r}", fingerprint(layer.state_dict()), _hidden(layer)
    return str(node.target) if isinstance(node.target, str) else node.target


def _hidden(layer: nn.Module) -> Hashable:
    """Numbers of a layer that its text need not show, and tensors outside its state."""
    hidden = [
        fingerprint(value) if isinstance(value, Tensor) else repr(value)
        for part in layer.modules()
        for name, value in sorted(vars(part).items())
        if not name.startswith("_") and name != "training"
    ]
    kept = [fingerprint(b) for part in layer.modules() for b in part._buffers.values() if b is not None]
    return tuple(hidden + kept)


def _without_changes_in_place(network: fx.GraphModule, node: fx.Node) -> None:
    """Let an operation leave what it reads as it is: other parts may read it too."""
    if node.op == "call_module":
        layer = network.get_submodule(str(node.target))
        for part in layer.modules():
            if getattr(part, "inplace", False):
                part.inplace = False  # type: ignore[assignment]
        return
    if node.op == "call_method" and str(node.target).endswith("_") and not str(node.target).startswith("_"):
        node.target = str(node.target).removesuffix("_")
    node.target = _OUT_OF_PLACE.get(node.target, node.target)
    if node.kwargs.get("inplace"):
        node.kwargs = {**node.kwargs, "inplace": False}
