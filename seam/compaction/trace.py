"""A network as a graph of operations (torch.fx), with the shape of every value in it."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from seam.compaction.functional import as_layers
from seam.compaction.recorder import Recorder
from seam.compaction.tracer import BranchError, Decision, Tracer, layer_class
from seam.compaction.while_tracing import functions_opened, types_unchecked

LAYERS = ("conv", "convtranspose", "linear")
PER_CHANNEL = ("batchnorm", "prelu")
"""Operations that hold one number, or a few, for each channel."""
EACH_NORM = ("instancenorm", "groupnorm")
"""Norms of each channel, or of a few together, by statistics of their input."""
_KNOWN_ORIGINS = ("torch", "torchvision", "_operator", "seam")


class NotFollowedError(Exception):
    """Why nothing can be removed from a network; `compact` returns the text."""


class DecidesByContentError(NotFollowedError):
    """Its code goes one way or another by what is in the images; the text names the line."""


class Traced:
    """A network as a graph of operations.

    Attributes:
        module: the graph, with the network's own layers.
        shapes: shapes of the values that are tensors, for the images it was traced with.
        changed: values that a later operation changes in place.
        pieces: of a value that is several tensors, how many.
        sizes: numbers in the graph that follow from the size of the batch, for that it was traced
            with.
    """

    def __init__(
        self,
        module: fx.GraphModule,
        shapes: dict[fx.Node, torch.Size],
        changed: frozenset[fx.Node] = frozenset(),
        pieces: Mapping[fx.Node, int] | None = None,
        sizes: Mapping[fx.Node, int | float] | None = None,
    ) -> None:
        self.module = module
        self.pieces = dict(pieces or {})
        self.sizes = dict(sizes or {})
        self.shapes = shapes
        self.changed = changed
        held = {n: _tensors(self.called(n)) for n in module.graph.nodes if n.op == "call_module"}
        calls = Counter(i for ids in held.values() for i in ids)
        self._shared = {n for n, ids in held.items() if any(calls[i] > 1 for i in ids)}
        self._read = {str(n.target).rpartition(".")[0] for n in module.graph.nodes if n.op == "get_attr"}

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

        Layers whose weights something else reads, or that have hooks, are none of the known kinds.
        """
        if node.op == "call_module":
            name = cast("type", layer_class(self.called(node))).__name__ if self._is_ordinary(node) else ""
        elif node.op == "call_method":
            name = str(node.target)
        else:
            origin = getattr(node.target, "__module__", None) or "torch"
            name = getattr(node.target, "__name__", "") if origin.split(".")[0] in _KNOWN_ORIGINS else ""
        kind = re.sub("_|[123]d$", "", name).lower().removeprefix("sync")  # norms of several devices
        holds_weights = kind in (*LAYERS, *PER_CHANNEL)
        return "" if holds_weights and node.op != "call_module" else kind

    def is_shared(self, node: fx.Node) -> bool:
        """Whether weights of the layer that `node` calls are used by another call too."""
        return node in self._shared

    def _is_ordinary(self, node: fx.Node) -> bool:
        """Whether `node` calls a layer as torch has it, without hooks or weights that are read elsewhere."""
        module = self.called(node)
        hooked = module._forward_hooks or module._forward_pre_hooks
        return layer_class(module) is not None and not hooked and str(node.target) not in self._read


def _tensors(module: nn.Module) -> set[int]:
    return {id(value) for value in module.state_dict(keep_vars=True).values()}


def trace(network: nn.Module, images: Tensor) -> Traced:
    """Trace a network and run it once.

    Args:
        network: in eval mode. Its layers become the graph's, they are not copied.
        images: a batch of two or more, so that a size of one is a size of one for every batch.

    Raises:
        NotFollowedError: torch.fx cannot trace it, it decides by the content of images or by their
            number, or it changes in place a value that is read again.
    """
    reason = NotFollowedError()
    for opened in _WAYS:
        try:
            return _followed(*_traced(network, images, opened), images)
        except NotFollowedError as e:
            reason = e
    raise reason


def trains_alike(network: nn.Module, images: Tensor) -> bool:
    """Whether a network does the same operations while it trains, so that its graph may train in its place."""
    for opened in _WAYS:
        modes = (copy.deepcopy(network).train(training) for training in (True, False))
        with suppress(NotFollowedError):
            return len({_traced(mode, images, opened)[0].code for mode in modes}) == 1
    return False


def short(error: Exception) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split())[:160]


_WAYS: tuple[Callable[[], AbstractContextManager[None]], ...] = (functions_opened, nullcontext)
"""Some functions can be followed only as one operation."""


def _followed(traced: fx.GraphModule, decisions: list[Decision], images: Tensor) -> Traced:
    recorder = Recorder(traced)
    try:
        recorder.run(images.clone())
    except Exception as e:  # many kinds
        raise NotFollowedError(f"its graph does not run: {short(e)}") from e
    if recorder.overwritten:
        raise NotFollowedError(f"'{recorder.overwritten}' is used again after a change in place")
    _fix(traced, recorder, decisions, images)
    traced.graph.eliminate_dead_code()
    return Traced(traced, recorder.shapes, frozenset(recorder.changed), recorder.pieces, recorder.sizes)


def _traced(
    network: nn.Module, images: Tensor, opened: Callable[[], AbstractContextManager[None]]
) -> tuple[fx.GraphModule, list[Decision]]:
    """A network's graph, and what its code decided on the way."""
    devices = [images.device] if images.is_cuda else []
    tracer, attributes = Tracer(images.clone()), set(vars(network))
    try:
        with types_unchecked(), torch.no_grad(), torch.random.fork_rng(devices), opened():
            traced = fx.GraphModule(network, tracer.trace(network), type(network).__name__)
        as_layers(traced, network)
        return traced, tracer.decisions
    except BranchError as e:
        raise DecidesByContentError(str(e)) from e
    except Exception as e:  # whatever the network's own code raises when it is given a proxy
        raise NotFollowedError(f"torch.fx cannot trace or run it: {short(e)}") from e
    finally:
        for name in set(vars(network)) - attributes:  # constants that torch.fx leaves there
            delattr(network, name)


def _fix(traced: fx.GraphModule, recorder: Recorder, decisions: list[Decision], images: Tensor) -> None:
    """Put what is the same for one image more in the place of what computes it; so must be what the network decided."""
    if not decisions and not recorder.sizes:
        return
    larger = fx.Interpreter(traced, garbage_collect_values=False)
    try:
        larger.run(torch.cat([images, images[:1]]))
    except Exception as e:  # many kinds
        raise NotFollowedError(f"its graph is that of one size of batch: {short(e)}") from e
    for decision in decisions:
        if not decision.holds(larger.env[decision.node]):
            raise NotFollowedError(f"it decides by the number of images in {decision.where}")
    recorder.fix(larger.env)
