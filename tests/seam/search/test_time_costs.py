"""Milliseconds of layouts, from planted tables."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from seam.errors import SearchError
from seam.masks.groups import channel_groups
from seam.masks.layout_costs import LayoutCosts
from seam.masks.widths import units_of
from seam.measures.macs import weight_macs
from seam.search.time_costs import time_costs
from tests.seam.masks.block import IMAGES, seeded_block
from tests.seam.search.planted import planted


def _costs(network: nn.Module, saved: dict[str, dict[int, float]], images: Any = IMAGES) -> LayoutCosts:
    groups = channel_groups(network, images)
    units = units_of(groups, 2)
    return time_costs(planted(saved), network, groups, units, weight_macs(network, images[:1]))


def test_a_unit_alone_costs_what_was_measured() -> None:
    saved = {"stem": {2: 2.5}, "inner": {0: 3.0, 2: 2.0, 4: 1.0}}
    costs = _costs(seeded_block(), saved)
    assert costs.whole == pytest.approx(10)
    assert costs.of({"stem": 2, "inner": 6}) == pytest.approx(7.5)
    for width, ms in saved["inner"].items():
        assert costs.of({"stem": 4, "inner": width}) == pytest.approx(10 - ms)


def test_what_two_units_save_of_a_layer_they_share_is_counted_once() -> None:
    """The block takes 3 of 10 ms; without it the stream's half saves a quarter of the other 7."""
    costs = _costs(seeded_block(), {"stem": {2: 2.5}, "inner": {0: 3.0, 2: 2.0, 4: 1.0}})
    assert costs.of({"stem": 2, "inner": 0}) == pytest.approx(7 * 0.75)
    assert costs.of({"stem": 2, "inner": 2}) == pytest.approx(10 - 2.5 - 2 + 3 * 0.25 * 2 / 3)
    assert all((c >= 0).all() for c in (*costs.alone.values(), *costs.pairs.values()))


def test_units_that_share_no_layer_add_up() -> None:
    """Three convolutions in a row: the first and the third meet in none."""
    network = nn.Sequential(*(nn.Conv2d(3 if i == 0 else 4, 4, 1) for i in range(4)), nn.Flatten(), nn.Linear(256, 2))
    costs = _costs(network.eval(), {"0": {2: 1.0}, "1": {2: 1.5}, "2": {2: 2.0}, "3": {2: 0.5}})
    assert set(costs.pairs) == {("0", "1"), ("1", "2"), ("2", "3")}
    assert costs.of({"0": 2, "1": 4, "2": 2, "3": 4}) == pytest.approx(10 - 1 - 2)
    assert costs.of({"0": 2, "1": 2, "2": 4, "3": 4}) > 10 - 1 - 1.5


def test_a_layer_between_two_units_costs_the_product_of_their_shares() -> None:
    """Positions 64: 12 + 16 + 8 multiply-adds each of 36, so times of 10/3, 40/9 and 20/9 of 10 ms."""
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)).eval()
    costs = _costs(network, {"0": {2: 1.0}, "1": {2: 2.0}})
    shares = 1 / (10 / 3 + 40 / 9), 2 / (40 / 9 + 20 / 9)
    assert costs.of({"0": 2, "1": 2}) == pytest.approx(10 - 3 + 40 / 9 * shares[0] * shares[1])


def test_a_width_that_was_not_measured_is_refused() -> None:
    with pytest.raises(SearchError, match=r"widths \(0, 2, 4, 6\) of unit 'inner', got none for \[2, 4\]"):
        _costs(seeded_block(), {"stem": {2: 2.5}, "inner": {0: 3.0}})


def test_slower_when_narrower_stays_as_measured() -> None:
    costs = _costs(seeded_block(), {"stem": {2: -1.0}, "inner": {0: 3.0, 2: -0.5, 4: 1.0}})
    assert costs.of({"stem": 2, "inner": 6}) == pytest.approx(11)
    assert costs.of({"stem": 2, "inner": 2}) == pytest.approx(11.5)
    assert torch.isfinite(torch.tensor(costs.whole))
