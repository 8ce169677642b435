"""Milliseconds of any layout, from the times of some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares
from torch import nn

from seam.errors import SearchError
from seam.masks.groups import ChannelGroups
from seam.masks.layout_costs import Costs, LayoutCosts, macs_costs
from seam.masks.widths import Layout, Unit, whole_layout
from seam.search.time_table import TimeTable

_NOISE = 0.015
"""Of a time, relative: one network loaded twice differs by as much, however often it is called."""
_SMALL = 0.02
"""What is no multiplication, as a share of the whole."""
_LIKELY = {"rates": 0.4, "widths": 0.3, "small": 1.0, "runs": _NOISE}
"""Standard deviations, before anything is measured, of the logarithms of: a layer's time for a multiply-add
against other layers', a unit's at a width against all, what is small, a run's times against other runs'."""


def time_costs(
    table: TimeTable,
    network: nn.Module,
    groups: ChannelGroups,
    units: Sequence[Unit],
    weight_macs: Mapping[str, float],
) -> LayoutCosts:
    """Milliseconds of a layout, a call.

    A model with a rate (time for a multiply-add) for each two units that meet in a layer, a factor
    for each unit and width (engines compute some widths at better rates than others), a little for
    each channel and each unit, and a rest. The numbers are those most likely by the times measured,
    given that rates differ little before anything is known: where nothing was measured, time goes
    with multiply-adds. The whole network costs what was measured.

    Args:
        table: of this network and these units.
        network: whose channels they are; it is not changed.
        groups: of its channels.
        units: of these groups.
        weight_macs: parameter name -> multiply-adds of each of its weights for one image
            (`seam.measures.macs.weight_macs`).

    Raises:
        SearchError: the table is of other units or widths.
    """
    macs = macs_costs(network, groups, units, weight_macs)
    model = _Model.of(macs)
    timed = [whole_layout(units), *(t.layout for t in table.timed)]
    at = np.array([_indices(units, layout) for layout in timed])
    times = np.log([1.0, *(t.ratio for t in table.timed)])
    runs = np.array([0, *(1 + t.run for t in table.timed)])
    sizes = [*model.sizes, int(runs.max()) + 1]
    likely = np.repeat([*model.likely, _LIKELY["runs"]], sizes)

    def off(x: Costs) -> Costs:
        *parts, of_run = np.split(x * likely, np.cumsum(sizes)[:-1])
        of_run = np.where(runs == 0, 0.0, of_run[runs])
        return np.concatenate([(np.log(model.times(parts, at)) + of_run - times) / _NOISE, x])

    found = least_squares(off, np.zeros(sum(sizes)), max_nfev=30).x * likely
    return model.costs(np.split(found, np.cumsum(sizes)[:-1])[:-1], table.latency_ms_p50)


def _indices(units: Sequence[Unit], layout: Layout) -> list[int]:
    """Of each unit, which of its widths."""
    try:
        if layout.keys() != {unit.name for unit in units}:
            raise KeyError("other units")
        return [unit.widths.index(layout[unit.name]) for unit in units]
    except (KeyError, ValueError) as e:
        raise SearchError(
            "time table: expected widths of this network's units, got those of another block or network; measure it"
            " anew."
        ) from e


@dataclass(frozen=True)
class _Model:
    """Shares of the whole's time, from logarithms of factors in five parts.

    A rate for each pair of units, one for each unit with what always stays, a factor for each width
    below all, what is small (the rest, then channels of each unit, then each unit's being gone),
    and a rate for all.
    """

    macs: LayoutCosts
    """As shares of the whole network's."""
    ends: npt.NDArray[np.int64]
    """(pairs, 2): numbers of the units of each pair."""

    @classmethod
    def of(cls, macs: LayoutCosts) -> _Model:
        number = {unit.name: i for i, unit in enumerate(macs.units)}
        shares = LayoutCosts(
            macs.units,
            macs.fixed / macs.whole,
            {name: costs / macs.whole for name, costs in macs.alone.items()},
            {ends: costs / macs.whole for ends, costs in macs.pairs.items()},
        )
        ends = np.array([[number[one], number[other]] for one, other in macs.pairs], np.int64).reshape(-1, 2)
        return cls(shares, ends)

    @property
    def sizes(self) -> list[int]:
        """Of the parts."""
        units = len(self.macs.units)
        return [len(self.ends), units, sum(len(u.widths) - 1 for u in self.macs.units), 1 + 2 * units, 1]

    @property
    def likely(self) -> list[float]:
        """Standard deviations of the parts."""
        return [_LIKELY["rates"], _LIKELY["rates"], _LIKELY["widths"], _LIKELY["small"], _LIKELY["rates"]]

    def costs(self, parts: Sequence[Costs], whole: float) -> LayoutCosts:
        """Milliseconds, `whole` of the whole network."""
        of_pairs, of_units, of_widths, of_small, of_all = parts
        units = self.macs.units
        bounds = np.cumsum([0, *(len(u.widths) - 1 for u in units)])
        widths = [np.exp([*of_widths[first:last], 0.0]) for first, last in pairwise(bounds)]
        rate, small = np.exp(of_all[0]), _SMALL * np.exp(of_small)
        rest, channels, gone = small[0], small[1 : 1 + len(units)], small[1 + len(units) :]
        alone = {}
        for i, unit in enumerate(units):
            kept = np.asarray(unit.widths) / unit.whole
            multiplied = rate * np.exp(of_units[i]) * self.macs.alone[unit.name] * widths[i]
            alone[unit.name] = multiplied + (channels[i] * kept + gone[i] * (kept == 0)) / len(units)
        pairs = {
            ends: rate * np.exp(of_pairs[p]) * macs * np.outer(*(widths[i] for i in self.ends[p]))
            for p, (ends, macs) in enumerate(self.macs.pairs.items())
        }
        made = LayoutCosts(units, float(rest + rate * self.macs.fixed), alone, pairs)
        scale = whole / made.whole
        return LayoutCosts(
            units,
            made.fixed * scale,
            {name: costs * scale for name, costs in alone.items()},
            {ends: costs * scale for ends, costs in pairs.items()},
        )

    def times(self, parts: Sequence[Costs], at: npt.NDArray[np.int64]) -> Costs:
        """Shares of the whole's time of layouts, given as (layouts, units) numbers of widths."""
        costs = self.costs(parts, 1.0)
        alone = sum(costs.alone[unit.name][at[:, i]] for i, unit in enumerate(costs.units))
        together = sum(
            table[at[:, one], at[:, other]] for (one, other), table in zip(self.ends, costs.pairs.values(), strict=True)
        )
        return np.asarray(costs.fixed + alone + together)
