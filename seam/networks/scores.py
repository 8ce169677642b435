"""Class scores alone, whatever a network gives: a mapping, several outputs, or the one logit of two classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain
from operator import getitem
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

_NAMED = "logits"
"""What the class scores are called where outputs have names."""


@dataclass(frozen=True)
class Scores:
    """Where the class scores are in what a network gives, and what is made of them."""

    place: str | int | None
    """Key, attribute or position; None: they are all that it gives."""
    alone: bool
    """One number an image, the logit of the second of two classes against the first."""

    def take(self, output: Any) -> Any:
        """The class scores, shape (images, classes); what has no such part comes back as it is.

        One logit z becomes -z/2 and z/2, whose softmax is the sigmoid of z.
        """
        found = output if self.place is None else _parts(output).get(self.place, output)
        if not self.alone or not isinstance(found, Tensor) or found.shape[1:].numel() != 1:
            return found
        logit = found.reshape(-1, 1) / 2
        return torch.cat([-logit, logit], 1)

    def __str__(self) -> str:
        """In words; empty: it gives them and nothing else."""
        place = "" if self.place is None else f"its output {self.place!r}"
        alone = "one logit, of the second class against the first" if self.alone else ""
        return "; ".join(filter(None, (place, alone)))


def find_scores(output: Any, images: int, num_classes: int | None = None) -> Scores | None:
    """Find the class scores in what a network gives.

    Args:
        output: for a batch.
        images: in the batch.
        num_classes: that are expected; None: it is not known.

    Returns:
        None: there are none, or several outputs could be.
    """
    parts = {place: kind for place, value in _parts(output).items() if (kind := _kind(value, images, num_classes))}
    if _NAMED in parts:
        parts = {_NAMED: parts[_NAMED]}
    if len(parts) != 1:
        return None
    ((place, kind),) = parts.items()
    return Scores(None if isinstance(output, Tensor) else place, kind == "alone")


@torch.no_grad()
def give_scores(
    network: nn.Module, images: Tensor, num_classes: int | None = None, *, one_logit: bool = False
) -> Scores | None:
    """Let a network give its class scores alone, in place; its modules and their names stay.

    Args:
        network: in eval mode, on the device of the images; it may give several outputs.
        images: two or more, as it takes them.
        num_classes: that are expected; None: it is not known.
        one_logit: leave one logit as it is, rather than two scores.

    Returns:
        What was taken; None: it gives none, or several outputs could be, and it is left as it is.
    """
    found = find_scores(network(images.clone()), len(images), num_classes)
    if found is not None and one_logit:
        found = replace(found, alone=False)
    give_found(network, found)
    return found


def give_found(network: nn.Module, found: Scores | None) -> None:
    """Let a network give these of its outputs alone, in place; None: it is left as it is."""
    if found is not None and str(found):
        _give(network, found)


def give_all_scores(network: nn.Module) -> None:
    """Let a network whose one logit was made two scores give as many as its last layer has, in place."""
    taken = getattr(network, "scores_taken", None)
    if taken is not None and taken.alone:
        network.__class__ = type(network).__mro__[1]
        if taken.place is not None:
            _give(network, Scores(taken.place, alone=False))


def within_bounds(network: nn.Module, images: Tensor, found: Scores, output: Any) -> bool:
    """Whether scores lie in 0 to 1 whatever the images: those given, their negatives, and both magnified; not all 0.

    Args:
        network: in eval mode.
        images: as it takes them.
        found: where its scores are in what it gives.
        output: what it gives for these images.
    """
    others = (network(images * scale) for scale in (-1, 100, -100))
    is_positive = False
    for given in chain((output,), others):
        scores = replace(found, alone=False).take(given)
        if not bool(((scores >= 0) & (scores <= 1)).all()):
            return False
        is_positive |= bool((scores > 0).any())
    return is_positive


def shown_output(output: Any) -> str:
    """What a network gives, in words."""
    if isinstance(output, Tensor):
        return str(tuple(output.shape))
    parts = [f"{place} {tuple(v.shape)}" for place, v in _parts(output).items() if isinstance(v, Tensor)]
    return type(output).__name__ + (f" of {', '.join(parts)}" if parts else "")


def _give(network: nn.Module, found: Scores) -> None:
    if isinstance(network, fx.GraphModule):  # its copies would not have the class made here
        _give_in_graph(network, found)
        return
    kind = type(network)

    def forward(self: nn.Module, images: Tensor) -> Any:
        return found.take(cast("Any", kind).forward(self, images))

    named = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    network.__class__ = type(kind.__name__, (kind,), {"forward": forward, "scores_taken": found, **named})


def _give_in_graph(network: fx.GraphModule, found: Scores) -> None:
    graph = network.graph
    end = next(node for node in graph.nodes if node.op == "output")
    value = end.args[0]
    with graph.inserting_before(end):
        if isinstance(value, fx.Node) and found.place is not None:  # of several values, or with names
            value = graph.call_function(getattr if isinstance(found.place, str) else getitem, (value, found.place))
        elif found.place is not None:
            value = _parts(value)[found.place]
        if found.alone:
            logit = graph.call_function(torch.div, (graph.call_method("reshape", (value, -1, 1)), 2))
            value = graph.call_function(torch.cat, ([graph.call_function(torch.neg, (logit,)), logit], 1))
    end.args = (value,)
    graph.eliminate_dead_code()
    network.recompile()


def _parts(output: Any) -> dict[str | int, Any]:
    """The outputs by their names or, where they have none, their positions."""
    if isinstance(output, Mapping):
        return {str(key): value for key, value in output.items()}
    if hasattr(output, "_fields"):
        return {name: getattr(output, name) for name in output._fields}
    if isinstance(output, tuple | list):
        return dict(enumerate(output))
    return {0: output} if isinstance(output, Tensor) else dict(getattr(output, "__dict__", {}))


def _kind(value: Any, images: int, num_classes: int | None) -> str:
    """What an output could be: "all" scores, one logit "alone", or, empty, something else."""
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim not in (1, 2):
        return ""
    if len(value) != images:
        return ""
    width = value.shape[1:].numel()
    if width == 1:
        return "alone" if num_classes in (2, None) else ""
    return "all" if num_classes in (width, None) else ""
