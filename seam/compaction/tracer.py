"""A tracer (torch.fx) whose stand-ins for tensors know what they stand for."""

from __future__ import annotations

import linecache
import operator
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import jaxtyping
import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import Attribute

from seam.compaction.while_tracing import sizes_followed

_ABOUT_FORM = frozenset(
    (
        *("shape", "size", "dim", "ndim", "ndimension", "numel", "nelement", "len", "stride", "is_contiguous", "type"),
        *("device", "dtype", "layout", "requires_grad", "is_cuda", "is_floating_point", "is_complex", "element_size"),
        "is_nested",
    )
)
"""What is asked of a tensor that does not depend on its numbers."""
_NOT_THE_NETWORKS = (*(str(Path(m).parent) for m in (torch.__file__, jaxtyping.__file__, __file__)), "<@")
"""Beginnings of files that are not a network's code; the last is of checked types."""
_OF_LAYERS = (
    *(nn.Transformer, nn.TransformerEncoder, nn.TransformerDecoder),
    *(nn.TransformerEncoderLayer, nn.TransformerDecoderLayer),
)
"""Modules of torch that are made of layers."""
_BEHAVIOUR = ("forward", "_conv_forward", "__call__")
"""Methods that say what one of torch's layers does."""


class BranchError(Exception):
    """A network's own code decides by the numbers in a tensor; the text names the line."""


@dataclass(frozen=True)
class Decision:
    """A number or truth value that the network's own code took out of the graph."""

    node: fx.Node
    take: Callable[[Any], Any]
    """What was made of its value."""
    value: Any
    """What that gave."""
    where: str

    def holds(self, value: Any) -> bool:
        """Whether it would be the same for another value of the node."""
        return bool(self.take(value) == self.value)


class Tracer(fx.Tracer):
    """Traces a network and runs it at the same time.

    So it knows how many pieces a split has, and what follows from the sizes of images; where the
    network's code decides by their content, it stops.

    Args:
        images: a batch of two or more.

    Attributes:
        decisions: what was taken out of the graph, as it follows from sizes alone. It may be that of
            a batch.
    """

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.decisions: list[Decision] = []
        self.values: dict[fx.Node, Any] = {}
        self._images = images
        self._by_content: dict[fx.Node, bool] = {}
        self._running = False

    def trace(self, root: Any, concrete_args: Any = None) -> fx.Graph:
        """The graph of a network."""
        with sizes_followed():
            return super().trace(root, concrete_args)

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> tuple[Any, list[Any]]:
        """What the network is called with: a stand-in for images; other arguments are not given."""
        function, given = super().create_args_for_root(root_fn, is_module, concrete_args)
        first = int(is_module)
        return function, [*given[: first + 1], *(self._if_not_given(each) for each in given[first + 1 :])]

    def _if_not_given(self, argument: Any) -> Any:
        node = argument.node if issubclass(type(argument), fx.Proxy) else None
        several = node is not None and str(node.target).startswith("*")
        if node is None or not (node.args or several):
            return argument
        self.graph.erase_node(node)
        del self.values[node]
        return ({} if str(node.target).startswith("**") else ()) if several else node.args[0]

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """What the network's own code gets in the place of a tensor."""
        return _Proxy(node, self)

    def create_node(self, kind: str, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        """Add one operation to the graph, and run it."""
        node = super().create_node(kind, target, *args, **kwargs)
        if kind != "output":
            self.values[node] = self._run(node)
        asked = str(node.args[1]) if node.target is getattr else getattr(target, "__name__", str(target))
        self._by_content[node] = kind == "placeholder" or (
            asked not in _ABOUT_FORM and any(self._by_content[n] for n in node.all_input_nodes)
        )
        return node

    def create_arg(self, a: Any) -> Any:
        """What stands for an argument in the graph."""
        return a.node if issubclass(type(a), fx.Proxy) else super().create_arg(a)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a layer is one operation: torch's own, and classes derived from them that do the same."""
        if isinstance(m, _OF_LAYERS):
            return False
        return super().is_leaf_module(m, module_qualified_name) or layer_class(m) is not None

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """What a call of a layer becomes; while an operation runs, or of one made on the way, the call itself."""
        through = self._running or m not in (self.submodule_paths or {})
        return forward(*args, **kwargs) if through else super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: Any) -> Any:
        """What a layer's attribute becomes; while an operation runs, the attribute itself."""
        return attr_val if self._running else super().getattr(attr, attr_val, parameter_proxy_cache)

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """The pieces of a value, as many as it has."""
        return (cast("Any", obj)[i] for i in range(self.decide(obj, len)))

    def to_bool(self, obj: fx.Proxy) -> bool:
        """The truth of a value that does not depend on the content of images."""
        return bool(self.number(obj, bool))

    def number(self, obj: fx.Proxy, take: Callable[[Any], Any]) -> Any:
        """Take a number out of the graph that does not depend on the content of images."""
        if self._by_content[obj.node]:
            raise BranchError(f"it decides by the content of images in {_where()}")
        return self.decide(obj, take)

    def decide(self, obj: fx.Proxy, take: Callable[[Any], Any]) -> Any:
        """Take out of the graph what follows from a value."""
        value = self.values[obj.node]
        found = take(value)
        if not isinstance(value, torch.Size):
            self.decisions.append(Decision(obj.node, take, found, _where()))
        return found

    def _run(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return self._images if not self.values else (node.args[0] if node.args else None)
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), self.values.__getitem__)
        self._running = True
        try:
            if node.op == "get_attr":
                return operator.attrgetter(str(node.target))(self.root)
            if node.op == "call_method":
                return getattr(args[0], str(node.target))(*args[1:], **kwargs)
            function = self.root.get_submodule(str(node.target)) if node.op == "call_module" else node.target
            return cast("Any", function)(*args, **kwargs)
        finally:
            self._running = False


def layer_class(module: nn.Module) -> type | None:
    """The class of torch's own layers whose behaviour `module` has; None for any other module."""
    kind = type(module)
    own = next((c for c in kind.__mro__ if c.__module__.startswith("torch.nn.modules.")), nn.Module)
    if own in (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict) or hasattr(module, "parametrizations"):
        return None
    same = all(getattr(kind, name, None) is getattr(own, name, None) for name in _BEHAVIOUR)
    return own if same and "forward" not in module.__dict__ else None


def _where() -> str:
    """The line of the network's own code that is running."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_NOT_THE_NETWORKS):
        frame = frame.f_back
    path, line = frame.f_code.co_filename, frame.f_lineno
    text = linecache.getline(path, line).strip()
    return f"line {line} of {Path(path).name}" + (f", `{text}`" if text else "")


class _Valued:
    """What both kinds of stand-ins do beyond what torch.fx has them do."""

    node: fx.Node
    tracer: Any

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or not hasattr(self.tracer.values[self.node], name):
            raise AttributeError(name)
        return _Attribute(cast("fx.Proxy", self), name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tracer.iter(cast("fx.Proxy", self)))

    def __len__(self) -> int:
        return int(self.tracer.decide(cast("fx.Proxy", self), len))

    def __bool__(self) -> bool:
        return bool(self.tracer.to_bool(cast("fx.Proxy", self)))

    def __index__(self) -> int:
        return int(self.tracer.number(cast("fx.Proxy", self), operator.index))

    def __int__(self) -> int:
        return int(self.tracer.number(cast("fx.Proxy", self), int))

    def __float__(self) -> float:
        return float(self.tracer.number(cast("fx.Proxy", self), float))

    def __setitem__(self, index: Any, value: Any) -> None:
        self._in_place(operator.setitem, index, value)

    def _in_place(self, operation: Any, *others: Any) -> Any:
        """`x += y` as a change in place, which fx.Proxy would make `x = x + y`."""
        return self.tracer.create_proxy("call_function", operation, (self, *others), {})

    def __iadd__(self, other: Any) -> Any:
        return self._in_place(operator.iadd, other)

    def __isub__(self, other: Any) -> Any:
        return self._in_place(operator.isub, other)

    def __imul__(self, other: Any) -> Any:
        return self._in_place(operator.imul, other)

    def __itruediv__(self, other: Any) -> Any:
        return self._in_place(operator.itruediv, other)


class _Proxy(_Valued, fx.Proxy):
    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """That of the value, to the code of networks that asks for it."""
        return Tensor if isinstance(self.tracer.values.get(self.node), Tensor) else type(self)


class _Attribute(_Valued, Attribute):
    pass
