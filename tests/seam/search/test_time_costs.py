"""Milliseconds of layouts, from planted tables."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from seam.errors import SearchError
from seam.masks.groups import channel_groups
from seam.masks.layout_costs import LayoutCosts, macs_costs
from seam.masks.widths import units_of
from seam.measures.macs import weight_macs
from seam.search.time_costs import time_costs
from seam.search.time_table import TimedLayout, TimeTable
from tests.seam.masks.block import IMAGES, seeded_block
from tests.seam.search.planted import planted

LAYOUTS = [{"stem": s, "inner": i} for s, i in product((2, 4), (0, 2, 4, 6))]


def _costs(table: TimeTable) -> LayoutCosts:
    network = seeded_block()
    groups = channel_groups(network, IMAGES)
    return time_costs(table, network, groups, units_of(groups, 2), weight_macs(network, IMAGES[:1]))


def _true_ms(layout: dict[str, int]) -> float:
    """A rest of 1; the block, slow where it is narrow, takes 6 at most, and all else 3."""
    stream, inside = layout["stem"] / 4, {0: 0.0, 2: 4.0, 4: 4.5, 6: 6.0}[layout["inner"]]
    return 1 + 3 * stream + inside * stream


def test_times_are_those_that_were_measured() -> None:
    """The block has four fifths of the multiply-adds, and narrow it takes twice what these say."""
    costs = _costs(planted(*((layout, _true_ms(layout)) for layout in LAYOUTS)))
    assert costs.whole == pytest.approx(10)
    for layout in LAYOUTS:
        assert costs.of(layout) == pytest.approx(_true_ms(layout), rel=0.05), layout
    assert all((c >= 0).all() for c in (*costs.alone.values(), *costs.pairs.values()))


def test_a_layout_that_was_not_measured_follows_from_others() -> None:
    left_out = {"stem": 2, "inner": 4}
    costs = _costs(planted(*((layout, _true_ms(layout)) for layout in LAYOUTS if layout != left_out)))
    assert costs.of(left_out) == pytest.approx(_true_ms(left_out), rel=0.1)


def test_where_nothing_was_measured_time_goes_with_multiply_adds() -> None:
    network = seeded_block()
    groups = channel_groups(network, IMAGES)
    macs = macs_costs(network, groups, units_of(groups, 2), weight_macs(network, IMAGES[:1]))
    costs = _costs(planted())
    for layout in LAYOUTS:
        assert costs.of(layout) / 10 == pytest.approx(macs.of(layout) / macs.whole, abs=0.06)


def test_a_run_in_which_the_whole_network_was_slow_misleads_little() -> None:
    table = planted(*((layout, _true_ms(layout)) for layout in LAYOUTS))
    slow = tuple(TimedLayout(t.layout, t.ratio * 0.97, 1) for t in table.timed)
    costs = _costs(replace(table, timed=table.timed + slow))
    for layout in LAYOUTS:
        assert costs.of(layout) == pytest.approx(_true_ms(layout), rel=0.06)


@pytest.mark.parametrize("layout", [{"stem": 2}, {"stem": 3, "inner": 2}, {"stem": 2, "other": 2}])
def test_times_of_other_units_or_widths_are_refused(layout: dict[str, int]) -> None:
    with pytest.raises(SearchError, match="expected widths of this network's units"):
        _costs(planted((layout, 5.0)))
