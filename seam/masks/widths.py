"""Widths of a network: how many channels of each kind are kept, and which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seam.masks.groups import ChannelGroups, kinds_of

Layout = Mapping[str, int]
"""Name of a unit -> how many of its groups are kept."""

MOST_WIDTHS = 8
"""Of a unit, beside 0."""


@dataclass(frozen=True)
class Unit:
    """Groups of channels of one kind: the same layers make them."""

    name: str
    """That of the first layer that makes them; where other units have the same first layer, with a
    number behind it ("conv/1")."""
    layers: tuple[str, ...]
    """All layers that make them, in the network's order."""
    groups: Int[Tensor, " n"]
    """Numbers of its groups, ascending."""
    widths: tuple[int, ...]
    """How many of them may be kept, ascending, the last is all; 0 where the layers are dispensable."""

    @property
    def whole(self) -> int:
        """How many groups it has."""
        return len(self.groups)


def units_of(groups: ChannelGroups, block: int) -> tuple[Unit, ...]:
    """The units of a network, in the order of the layers that make them.

    Groups that no layer makes are in no unit: they always stay.

    Args:
        groups: of the network's channels.
        block: widths are multiples of it, and all; where these are more than `MOST_WIDTHS`, so many
            of them, evenly spaced, the least and all among them. Where no layer has a choice then,
            half of it counts, and so on.
    """
    units = _units(groups, block)
    while block > 1 and all(len(unit.widths) == 1 for unit in units):
        block //= 2
        units = _units(groups, block)
    return units


def _units(groups: ChannelGroups, block: int) -> tuple[Unit, ...]:
    kind = kinds_of(groups)
    made = {name: set(kind[ids[ids >= 0]].tolist()) for name, ids in groups.outputs.items()}
    units: list[Unit] = []
    names: set[str] = set()
    for number in dict.fromkeys(number for kinds in made.values() for number in sorted(kinds)):
        layers = tuple(name for name, kinds in made.items() if number in kinds)
        name, twin = layers[0], 0
        while name in names:
            twin += 1
            name = f"{layers[0]}/{twin}"
        names.add(name)
        own = (kind == number).nonzero().flatten()
        widths = _widths(len(own), block, groups.dispensable.issuperset(layers))
        units.append(Unit(name, layers, own, widths))
    return tuple(units)


def best_groups(units: Sequence[Unit], layout: Layout, worth: Float[Tensor, " groups"]) -> Bool[Tensor, " groups"]:
    """The groups of greatest worth of each unit, as many as `layout` says; of equals the first.

    Groups in no unit are kept.
    """
    kept = torch.ones(len(worth), dtype=torch.bool)
    for unit in units:
        best_first = worth.cpu()[unit.groups].argsort(descending=True, stable=True)
        kept[unit.groups[best_first[layout[unit.name] :]]] = False
    return kept


def whole_layout(units: Sequence[Unit]) -> dict[str, int]:
    """Everything kept."""
    return {unit.name: unit.whole for unit in units}


def _widths(number: int, block: int, dispensable: bool) -> tuple[int, ...]:
    widths = [*range(block, number, block), number]
    last = min(len(widths), MOST_WIDTHS) - 1
    thinned = [widths[round(i * (len(widths) - 1) / max(last, 1))] for i in range(last + 1)]
    return (*([0] if dispensable else []), *thinned)
