"""A network's graph run once, and what is known of its values from that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

_FROM_FORM = ("new_zeros", "new_ones", "new_full", "size", "dim", "numel")
"""Methods whose results follow from a tensor's form alone."""


class Recorder(fx.Interpreter):
    """Runs the network once, and keeps what there is to know of its values.

    Attributes:
        shapes: of those that are tensors.
        sizes: those that are numbers.
        pieces: of those that are several tensors, how many.
        changed: values that a later operation changes in place.
        overwritten: one of these that is read again after that; empty if there is none.
    """

    def __init__(self, traced: fx.GraphModule) -> None:
        super().__init__(traced, garbage_collect_values=False)  # a freed value's memory would be taken for another's
        self.shapes: dict[fx.Node, torch.Size] = {}
        self.sizes: dict[fx.Node, int | float] = {}
        self.pieces: dict[fx.Node, int] = {}
        self.changed: set[fx.Node] = set()
        self.overwritten = ""
        self._fixed: set[fx.Node] = set()
        self._traced = traced

    def run_node(self, n: fx.Node) -> Any:
        """Run one operation."""
        sources = [value for s in n.all_input_nodes if isinstance(value := self.env[s], Tensor)]
        versions = [value._version for value in sources]
        result = super().run_node(n)
        if self._is_fixed(n, result):
            self._fixed.add(n)
        if isinstance(result, Tensor):
            self.shapes[n] = result.shape
        elif type(result) in (int, float):
            self.sizes[n] = result
        elif isinstance(result, tuple | list) and all(isinstance(piece, Tensor) for piece in result):
            self.pieces[n] = len(result)
        changed = {
            _memory(value) for value, version in zip(sources, versions, strict=True) if value._version != version
        }
        if changed:
            self._note_changed(n, changed)
        return result

    def _note_changed(self, node: fx.Node, memory: set[int]) -> None:
        """Note the values in memory that `node` changed, above all one that an operation still to come reads."""
        for other, value in self.env.items():
            if isinstance(value, Tensor) and _memory(value) in memory:
                self.changed.add(other)
                if not {node, other} <= self._fixed and any(
                    user is not node and user not in self.env for user in other.users
                ):
                    self.overwritten = other.name

    def _is_fixed(self, node: fx.Node, result: Any) -> bool:
        """Whether a value follows from sizes and from what does not train."""
        if node.op in ("placeholder", "output", "call_module"):
            return False
        if node.op == "get_attr":
            return not isinstance(result, nn.Parameter)
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
        of_form = name in _FROM_FORM or node.args[1:2] in (("shape",), ("device",), ("dtype",))
        return of_form or all(n in self._fixed for n in node.all_input_nodes)

    def fix(self, larger: Mapping[fx.Node, Any]) -> None:
        """Put numbers, and tensors that do not train, in the place of what computes them.

        Args:
            larger: all values for one image more; what differs there stays.
        """
        graph = self._traced.graph
        same: dict[fx.Node, Any] = {n: size for n, size in self.sizes.items() if larger[n] == size}
        for node in [n for n in graph.nodes if n in self._fixed and n in self.shapes and n.op != "get_attr"]:
            if self._fixed.issuperset(node.users) or not torch.equal(self.env[node], larger[node]):
                continue
            name = f"{node.name}_fixed"
            self._traced.register_buffer(name, self.env[node].clone(), persistent=False)
            with graph.inserting_before(node):
                same[node] = graph.get_attr(name)
            self.shapes[same[node]] = self.shapes[node]
        for user in dict.fromkeys(user for node in same for user in node.users):
            user.args, user.kwargs = fx.node.map_arg((user.args, user.kwargs), lambda node: same.get(node, node))
        for node in reversed(graph.nodes):
            if node in self._fixed and not node.users:
                graph.erase_node(node)


def _memory(value: Tensor) -> int:
    return value.untyped_storage().data_ptr()
