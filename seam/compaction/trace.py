"""A network as a graph of operations (torch.fx), with the shape of every value in it."""

from __future__ import annotations

import copy
import operator
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jaxtyping
import torch
from torch import Tensor, fx, nn

LAYERS = ("conv", "linear")
PER_CHANNEL = ("batchnorm", "prelu")
"""Operations that hold one number, or a few, for each channel."""
_KNOWN_ORIGINS = ("torch", "torchvision", "_operator")


class NotFollowedError(Exception):
    """Why nothing can be removed from a network; `compact` returns the text."""


class Traced:
    """A network as a graph of operations.

    Attributes:
        module: the graph, with the network's own layers.
        shapes: shapes of the values that are tensors, for the images it was traced with.
        changed: values that a later operation changes in place.
    """

    def __init__(
        self, module: fx.GraphModule, shapes: dict[fx.Node, torch.Size], changed: frozenset[fx.Node] = frozenset()
    ) -> None:
        self.module = module
        self.shapes = shapes
        self.changed = changed
        self._uses = _uses(module)

    @property
    def nodes(self) -> list[fx.Node]:
        """All operations, each after those it reads. A copy: the graph may be changed meanwhile."""
        return list(self.module.graph.nodes)

    def clean(self) -> None:
        """Take out operations whose results nothing reads, and their layers."""
        self.module.graph.eliminate_dead_code()
        self.module.delete_all_unused_submodules()
        self.module.recompile()

    def called(self, node: fx.Node) -> Any:
        """The layer that `node` calls, None if it calls none."""
        return self.module.get_submodule(str(node.target)) if node.op == "call_module" else None

    def kind(self, node: fx.Node) -> str:
        """What `node` does, whatever its spelling: "conv" of Conv2d, "relu" of relu_.

        Empty where it may not be what it is called.

        Layers whose weights are read in more than one place, or that have hooks, are none of the
        known kinds.
        """
        if node.op == "call_module":
            name = type(self.called(node)).__name__ if self._is_ordinary(node) else ""
        elif node.op == "call_method":
            name = str(node.target)
        else:
            origin = getattr(node.target, "__module__", None) or "torch"
            name = getattr(node.target, "__name__", "") if origin.split(".")[0] in _KNOWN_ORIGINS else ""
        kind = re.sub("_|[123]d$", "", name).lower()
        holds_weights = kind in (*LAYERS, *PER_CHANNEL)
        return "" if holds_weights and node.op != "call_module" else kind

    def _is_ordinary(self, node: fx.Node) -> bool:
        """Whether `node` calls one of torch's own modules, without hooks or weights that are read elsewhere."""
        module = self.called(node)
        shared = self._uses[str(node.target)] > 1 and len(module.state_dict()) > 0
        hooked = module._forward_hooks or module._forward_pre_hooks
        return type(module).__module__.startswith("torch.nn.modules.") and not shared and not hooked


def trace(network: nn.Module, images: Tensor) -> Traced:
    """Trace a network and run it once.

    Args:
        network: in eval mode. Its layers become the graph's, they are not copied.
        images: a batch of two or more, so that a size of one is a size of one for every batch.

    Raises:
        NotFollowedError: torch.fx cannot trace it, or it changes in place a value that is read
            again.
    """
    try:
        with _types_unchecked():
            traced = fx.GraphModule(network, _Tracer().trace(network), type(network).__name__)
        recorder = _Recorder(traced)
        recorder.run(images.clone())
    except Exception as e:  # whatever the network's own code raises when it is given a proxy
        raise NotFollowedError(f"torch.fx cannot trace or run it: {' '.join(str(e).split())[:160]}") from e
    if recorder.overwritten:
        raise NotFollowedError(f"'{recorder.overwritten}' is used again after a change in place")
    traced.graph.eliminate_dead_code()
    return Traced(traced, recorder.shapes, frozenset(recorder.changed))


def trains_alike(network: nn.Module) -> bool:
    """Whether torch.fx finds the same operations while a network trains, so that its graph may train in its place."""
    try:
        with _types_unchecked():
            codes = {str(_Tracer().trace(copy.deepcopy(network).train(training))) for training in (True, False)}
    except Exception:  # as in `trace`
        return False
    return len(codes) == 1


def _uses(traced: fx.GraphModule) -> Counter[str]:
    """Module -> how often it is called, or one of its own tensors read."""
    called = [str(n.target) for n in traced.graph.nodes if n.op == "call_module"]
    return Counter([*called, *(str(n.target).rpartition(".")[0] for n in traced.graph.nodes if n.op == "get_attr")])


@contextmanager
def _types_unchecked() -> Iterator[None]:
    """No run-time checks of jaxtyping's annotations: tracing calls the network with a proxy, which is no tensor."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


class _Proxy(fx.Proxy):
    """Stands for a tensor, and keeps `x += y` a change in place, which fx.Proxy would make `x = x + y`."""

    def _in_place(self, operation: Any, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operation, (self, other), {})

    def __iadd__(self, other: Any) -> fx.Proxy:
        return self._in_place(operator.iadd, other)

    def __isub__(self, other: Any) -> fx.Proxy:
        return self._in_place(operator.isub, other)

    def __imul__(self, other: Any) -> fx.Proxy:
        return self._in_place(operator.imul, other)

    def __itruediv__(self, other: Any) -> fx.Proxy:
        return self._in_place(operator.itruediv, other)


class _Tracer(fx.Tracer):
    def proxy(self, node: fx.Node) -> fx.Proxy:
        """What the network's own code gets in the place of a tensor."""
        return _Proxy(node, self)


class _Recorder(fx.Interpreter):
    """Runs the network once; keeps the shape of every value, and whether one is read after it was changed in place."""

    def __init__(self, traced: fx.GraphModule) -> None:
        super().__init__(traced, garbage_collect_values=False)  # a freed value's memory would be taken for another's
        self.shapes: dict[fx.Node, torch.Size] = {}
        self.changed: set[fx.Node] = set()
        self.overwritten = ""

    def run_node(self, n: fx.Node) -> Any:
        """Run one operation."""
        sources = [value for s in n.all_input_nodes if isinstance(value := self.env[s], Tensor)]
        versions = [value._version for value in sources]
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.shapes[n] = result.shape
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
                if any(user is not node and user not in self.env for user in other.users):
                    self.overwritten = other.name


def _memory(value: Tensor) -> int:
    return value.untyped_storage().data_ptr()
