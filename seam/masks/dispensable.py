"""Layers that a network can do without: the insides of residual blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, fx
from torch.utils._pytree import tree_leaves

from seam.compaction.constants import Constants
from seam.compaction.held import chain_to
from seam.compaction.operations import CONCATENATIONS

_SUMS = ("add", "iadd", "sub", "isub", *CONCATENATIONS)


def dispensable(known: Constants, outputs: Mapping[str, Int[Tensor, " channels"]]) -> frozenset[str]:
    """Layers without which, all at once, the network's output still depends on its input.

    Args:
        known: of the network.
        outputs: layer -> group of each of its output channels; -1: it always stays.
    """
    found: list[frozenset[str]] = []
    for name in outputs:
        together = _together(name, outputs)
        if all(bool((outputs[n] >= 0).all()) for n in together) and _connected(known, _all(found) | together):
            found.append(together)
    return _all(_reaching(known, found) if _has_own_tokens(known) else found)


def _all(some: list[frozenset[str]]) -> frozenset[str]:
    return frozenset().union(*some)


def _together(name: str, outputs: Mapping[str, Tensor]) -> frozenset[str]:
    """The layers that share channels with this one, and those that share channels with them."""
    found: frozenset[str] = frozenset({name})
    before: frozenset[str] = frozenset()
    while found != before:
        before, channels = found, torch.cat([outputs[n] for n in found])
        found = frozenset(n for n, ids in outputs.items() if bool(torch.isin(ids, channels).any()))
    return found


def _connected(known: Constants, removed: frozenset[str]) -> bool:
    """Whether the output still depends on the input, were these layers' outputs constant.

    A sum does if an operand does, all else if all do.
    """
    depends: dict[fx.Node, bool] = {}
    for node in known.traced.nodes:
        read = [depends[source] for source in node.all_input_nodes if source in depends]
        if node.op == "placeholder":
            depends[node] = True
        elif read:
            some = any(read) if known.traced.kind(node) in _SUMS else all(read)
            depends[node] = some and not (node in known.layers and str(node.target) in removed)
    return depends[known.traced.nodes[-1]]


def _has_own_tokens(known: Constants) -> bool:
    """Whether a parameter is put beside what is made of images, so that a part of a value may not depend on these."""
    joined = (node for node in known.traced.nodes if known.traced.kind(node) in CONCATENATIONS)
    return any(bool(chain_to(known.traced, operand)) for node in joined for operand in node.all_input_nodes)


def _reaching(known: Constants, candidates: list[frozenset[str]]) -> list[frozenset[str]]:
    """Those of them, one after the other, without which the output is reached from the images.

    A class token knows of the images by attention alone: of its layers one has to stay.
    """
    found, waiting = list[frozenset[str]](), candidates
    while waiting:
        low, high = 0, len(waiting)  # how many of the first can go: at least, at most
        while low < high:
            middle = (low + high + 1) // 2
            if _Reached(known, _all(found + waiting[:middle])).anywhere():
                low = middle
            else:
                high = middle - 1
        found, waiting = found + waiting[:low], waiting[low + 1 :]
    return found


class _Reached(fx.Interpreter):
    """Runs a network on NaN, which is passed on by whatever depends on it; some layers give zeros."""

    def __init__(self, known: Constants, removed: frozenset[str]) -> None:
        super().__init__(known.traced.module)
        self._known, self._removed = known, removed

    def anywhere(self) -> bool:
        """Whether the network's output depends on its images."""
        images = next(node for node in self._known.traced.nodes if node.op == "placeholder")
        found = self.run(torch.full((1, *self._known.traced.shapes[images][1:]), torch.nan))
        return any(bool(leaf.isnan().any()) for leaf in tree_leaves(found) if isinstance(leaf, Tensor))

    def run_node(self, n: fx.Node) -> Any:
        """Run one operation."""
        if n in self._known.layers and str(n.target) in self._removed:
            return torch.zeros((1, *self._known.traced.shapes[n][1:]))
        return super().run_node(n)
