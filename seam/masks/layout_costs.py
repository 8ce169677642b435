"""What the widths of a network cost: a fixed part, a part for each unit, and one for each two that meet in a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from seam.checkpoint import fingerprint
from seam.masks.groups import ChannelGroups, made_and_read
from seam.masks.masks import maskable
from seam.masks.widths import Layout, Unit, whole_layout

Costs = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LayoutCosts:
    """The cost of any layout, in a form that can be minimised exactly."""

    units: tuple[Unit, ...]
    fixed: float
    """What no width changes; of milliseconds, it may be below 0."""
    alone: dict[str, Costs]
    """Unit -> what it costs at each of its widths, whatever the others are; not negative."""
    pairs: dict[tuple[str, str], Costs]
    """(unit read, unit made) -> what the two cost together, (widths of the one, widths of the
    other); not negative."""

    def of(self, layout: Layout) -> float:
        """The cost of a layout, which names every unit and one of its widths.

        Raises:
            KeyError, ValueError: it does not.
        """
        at = {unit.name: unit.widths.index(layout[unit.name]) for unit in self.units}
        alone = sum(float(costs[at[name]]) for name, costs in self.alone.items())
        together = sum(float(costs[at[read], at[made]]) for (read, made), costs in self.pairs.items())
        return self.fixed + alone + together

    def fingerprint(self) -> str:
        """Of every number in it."""
        pairs = {f"{read} {made}": torch.from_numpy(costs) for (read, made), costs in self.pairs.items()}
        alone = {name: torch.from_numpy(costs) for name, costs in self.alone.items()}
        return fingerprint(np.array([self.fixed]), alone, pairs)

    @property
    def whole(self) -> float:
        """The cost of everything."""
        return self.of(whole_layout(self.units))


@dataclass(frozen=True)
class UnitMacs:
    """Multiply-adds of one image by the units whose channels are read and made; the last row and column: by neither."""

    between: Costs
    """(units + 1, units + 1): of weights that read a channel of the one and make one of the other;
    of the same unit: of two of its groups."""
    within: Costs
    """(units + 1): of weights that read and make channels of the same group."""

    @property
    def total(self) -> Costs:
        """(units + 1, units + 1): of all weights that read a channel of the one and make one of the other."""
        return np.asarray(self.between + np.diag(self.within))


def unit_macs(
    network: nn.Module, groups: ChannelGroups, units: Sequence[Unit], weight_macs: Mapping[str, float]
) -> UnitMacs:
    """Multiply-adds by pairs of units.

    Args:
        network: whose channels they are; it is not changed.
        groups: of its channels.
        units: of these groups.
        weight_macs: parameter name -> multiply-adds of each of its weights for one image
            (`seam.measures.macs.weight_macs`); a parameter that is not there costs nothing.
    """
    unit_of = torch.full((groups.number + 1,), len(units))
    for i, unit in enumerate(units):
        unit_of[unit.groups] = i
    between = torch.zeros(len(units) + 1, len(units) + 1, dtype=torch.float64)
    within = torch.zeros(len(units) + 1, dtype=torch.float64)
    for name, weight in maskable(network).items():
        if name not in weight_macs:
            continue
        made, read = made_and_read(name, weight, groups)
        pair = read[:, None, :].expand(-1, made.shape[1], -1), made[:, :, None].expand(-1, -1, read.shape[1])
        each = weight_macs[name] * weight.numel() / pair[0].numel()
        same = (pair[0] == pair[1]) & (pair[0] < groups.number)
        within += each * unit_of[pair[0][same]].bincount(minlength=len(units) + 1)
        ends = unit_of[pair[0][~same]] * len(within) + unit_of[pair[1][~same]]
        between += each * ends.bincount(minlength=between.numel()).view_as(between)
    return UnitMacs(between.numpy(), within.numpy())


def macs_costs(
    network: nn.Module, groups: ChannelGroups, units: Sequence[Unit], weight_macs: Mapping[str, float]
) -> LayoutCosts:
    """Multiply-adds of the weights that a layout keeps, for one image.

    Exact where the groups of a unit are of one size and read alike, as in all but odd networks;
    there, the mean over the choices of groups.

    Args:
        network: whose channels they are; it is not changed.
        groups: of its channels.
        units: of these groups.
        weight_macs: parameter name -> multiply-adds of each of its weights for one image
            (`seam.measures.macs.weight_macs`); a parameter that is not there costs nothing.
    """
    macs = unit_macs(network, groups, units, weight_macs)
    kept = [np.asarray(unit.widths) / unit.whole for unit in units]
    alone, pairs = {}, {}
    for i, unit in enumerate(units):
        w = np.asarray(unit.widths, np.float64)
        others = w * (w - 1) / max(unit.whole * (unit.whole - 1), 1)
        with_what_stays = macs.between[i, -1] + macs.between[-1, i]
        alone[unit.name] = (macs.within[i] + with_what_stays) * kept[i] + macs.between[i, i] * others
        for j, other in enumerate(units):
            if i != j and macs.between[i, j]:
                pairs[unit.name, other.name] = macs.between[i, j] * np.outer(kept[i], kept[j])
    return LayoutCosts(tuple(units), float(macs.between[-1, -1] + macs.within[-1]), alone, pairs)
