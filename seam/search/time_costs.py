"""Milliseconds of any layout, from a table of what each unit saves alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import nn

from seam.errors import SearchError
from seam.masks.groups import ChannelGroups
from seam.masks.layout_costs import Costs, LayoutCosts, unit_macs
from seam.masks.widths import Unit
from seam.search.time_table import TimeTable


def time_costs(
    table: TimeTable,
    network: nn.Module,
    groups: ChannelGroups,
    units: Sequence[Unit],
    weight_macs: Mapping[str, float],
) -> LayoutCosts:
    """Milliseconds of a layout, a call.

    With one unit narrowed, and with several that share no layer, the whole's less what was measured
    of each. What two save of a layer that they share is counted once: of its time T, one saves the
    share a, the other b, both together a + b - a b. T is the layer's part, by multiply-adds, of the
    time of the units that may go whole, where it reads or makes one of these, and else of the rest;
    the shares are what was measured, of the time of all layers of the unit.

    Args:
        table: of this network and these units.
        network: whose channels they are; it is not changed.
        groups: of its channels.
        units: of these groups.
        weight_macs: parameter name -> multiply-adds of each of its weights for one image
            (`seam.measures.macs.weight_macs`).

    Raises:
        SearchError: the table lacks a width of a unit.
    """
    saved = {unit.name: _saved(table, unit) for unit in units}
    times = _times(table, units, saved, unit_macs(network, groups, units, weight_macs).total)
    total = times.sum(0) + times.sum(1) - times.diagonal()
    shares = [
        np.clip(saved[unit.name] / max(total[i], saved[unit.name].max(), 1e-12), 0, 1) for i, unit in enumerate(units)
    ]
    pairs = {
        (one.name, other.name): times[i, j] * np.outer(shares[i], shares[j])
        for i, one in enumerate(units)
        for j, other in enumerate(units)
        if i != j and times[i, j] > 0
    }
    most = {name: float(ms.max()) for name, ms in saved.items()}
    alone = {name: most[name] - ms for name, ms in saved.items()}
    return LayoutCosts(tuple(units), table.latency_ms_p50 - sum(most.values()), alone, pairs)


def _saved(table: TimeTable, unit: Unit) -> Costs:
    """Milliseconds saved at each width of a unit."""
    by_width = {**table.saved_ms.get(unit.name, {}), unit.whole: 0.0}
    missing = [w for w in unit.widths if w not in by_width]
    if missing:
        raise SearchError(
            f"time table: expected widths {unit.widths} of unit '{unit.name}', got none for {missing}; measure it"
            " with these units."
        )
    return np.array([by_width[w] for w in unit.widths])


def _times(table: TimeTable, units: Sequence[Unit], saved: Mapping[str, Costs], macs: Costs) -> Costs:
    """(units + 1, units + 1): milliseconds of what reads the one and makes the other; last: what always stays."""
    goes = np.array([*(unit.widths[0] == 0 for unit in units), False])
    alone = np.array([*(max(float(saved[unit.name][0]), 0.0) for unit in units), 0.0])
    rate = np.where(goes, alone / np.maximum(macs.sum(0) + macs.sum(1) - macs.diagonal(), 1e-12), 0.0)
    rest = ~goes[:, None] & ~goes
    of_rest = max(table.latency_ms_p50 - alone[goes].sum(), 0.0) / max(macs[rest].sum(), 1e-12)
    ends = goes[:, None].astype(np.float64) + goes
    return np.asarray(macs * np.where(rest, of_rest, (rate[:, None] + rate) / np.maximum(ends, 1)))
