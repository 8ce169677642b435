"""Rules for what moves channels, and which it found where: from input to output."""

from __future__ import annotations

import torch
from torch import Tensor, fx

from seam.compaction.apart import laid_apart
from seam.compaction.channels import Channels, Tie, one_to_one
from seam.compaction.movement import PICKS, VIEWS, has_sizes, moved, pieces
from seam.compaction.pools import Tied
from seam.compaction.spelling import name_sizes
from seam.compaction.trace import Traced


class Moves:
    """What is known of operations that move channels.

    Attributes:
        picked: operation -> of each channel of its result, which of its source; where several of the
            source are one of the result, one of them.
        pieces: split -> of each piece, its channels.
    """

    def __init__(self, traced: Traced) -> None:
        self.picked: dict[fx.Node, Tensor] = {}
        self.pieces: dict[fx.Node, list[Tensor]] = {}
        self._traced = traced

    def move(self, node: fx.Node, source: fx.Node, known: Channels) -> Tied:
        """One value of another: a slice, a view, a transposition, a piece of a split."""
        kind, shape = self._traced.kind(node), self._traced.shapes
        if kind == "getitem" and source in self._traced.pieces:
            at = node.args[1]
            if not isinstance(at, int):
                return None
            axis, of_source = known.axis, self.pieces[source][at]
        else:
            found = moved(self._traced, node, source, known)
            if kind in VIEWS and not has_sizes(node, len(shape[node])):
                return None
            if found is None:
                return self._lay_apart(node, source, known) if kind in VIEWS else None
            axis, of_source = found
            same = torch.equal(of_source, torch.arange(len(known.constant)))
            others = [[size for a, size in enumerate(shape[n]) if a != known.axis] for n in (source, node)]
            if kind in PICKS and not same and (axis != known.axis or others[0] != others[1]):
                return None
        self.picked[node] = of_source
        return axis, known.constant[of_source], [Tie(source, of_source, torch.arange(len(of_source)))]

    def move_as(self, node: fx.Node, source: fx.Node, known: Channels) -> Tied:
        """A view of the shape of another value."""
        name_sizes(self._traced, node, source, known)
        return self.move(node, source, known) if self._traced.kind(node) in VIEWS else None

    def split(self, node: fx.Node, source: fx.Node, known: Channels) -> Tied:
        """Several values of one, along its channels."""
        parts = pieces(self._traced, node, source, known)
        if parts is None:
            return None
        self.pieces[node] = parts
        return known.axis, known.constant, [one_to_one(source, len(known.constant))]

    def _lay_apart(self, node: fx.Node, source: fx.Node, known: Channels) -> Tied:
        found = laid_apart(self._traced, node, source, known)
        if found is not None:
            place = found[2][0].of_result
            self.picked[node] = place.argsort(stable=True)[:: len(place) // len(found[1])]
        return found
