"""The layout a budget pays for, against all layouts there are."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from seam.errors import SearchError
from seam.masks.groups import channel_groups
from seam.masks.knapsack import best_layout
from seam.masks.layout_costs import LayoutCosts, macs_costs
from seam.masks.widths import Unit, units_of
from seam.measures.macs import weight_macs
from seam.networks.build import build


def unit(name: str, *widths: int) -> Unit:
    return Unit(name, (name,), torch.arange(widths[-1]), widths)


PAIR = LayoutCosts(
    (unit("a", 1, 2), unit("b", 1, 2, 3)),
    fixed=1.0,
    alone={"a": np.array([0.0, 1.0]), "b": np.array([0.0, 0.0, 0.5])},
    pairs={("a", "b"): np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]])},
)
"""Costs of (a, b): 2, 3, 4.5 where a is 1; 4, 6, 8.5 where it is 2."""
WORTH = {"a": np.array([0.0, 1.0]), "b": np.array([0.0, 0.6, 1.1])}


@pytest.mark.parametrize(
    ("budget", "expected"), [(2.0, (1, 1)), (3.9, (1, 2)), (4.4, (2, 1)), (4.5, (1, 3)), (6.0, (2, 2)), (9.0, (2, 3))]
)
def test_the_best_of_six_by_hand(budget: float, expected: tuple[int, int]) -> None:
    assert best_layout(WORTH, PAIR, budget) == dict(zip("ab", expected, strict=True))


def test_a_budget_below_the_smallest_layout_is_refused_with_what_that_costs() -> None:
    with pytest.raises(SearchError, match=r"a budget of 1\.9 of 8\.5: .* below the smallest, 2"):
        best_layout(WORTH, PAIR, 1.9)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.7])
def test_the_best_of_all_layouts_of_a_residual_network(share: float) -> None:
    network = build("resnet20_a", 10).eval()
    groups = channel_groups(network, torch.zeros(2, 3, 32, 32))
    units = units_of(groups, 16)
    costs = macs_costs(network, groups, units, weight_macs(network, torch.zeros(1, 3, 32, 32)))
    random = np.random.default_rng(int(100 * share))
    worth = {u.name: np.sort(random.random(len(u.widths))) for u in units}

    def of(layout: dict[str, int]) -> float:
        return sum(float(worth[u.name][u.widths.index(layout[u.name])]) for u in units)

    every = (dict(zip((u.name for u in units), widths, strict=True)) for widths in product(*(u.widths for u in units)))
    best = max((layout for layout in every if costs.of(layout) <= share * costs.whole), key=of)
    found = dict(best_layout(worth, costs, share * costs.whole))
    assert costs.of(found) <= share * costs.whole
    assert of(found) == pytest.approx(of(best), rel=1e-3)


def test_the_inside_of_a_block_vanishes_as_a_whole() -> None:
    """Two units that one layer connects: without the one, the other is of no use."""
    inside = LayoutCosts(
        (unit("first", 0, 4), unit("second", 0, 4)),
        fixed=0.0,
        alone={"first": np.array([0.0, 3.0]), "second": np.array([0.0, 1.0])},
        pairs={("first", "second"): np.array([[0.0, 0.0], [0.0, 2.0]])},
    )
    worth = {"first": np.array([0.0, 1.0]), "second": np.array([0.0, 5.0])}
    assert best_layout(worth, inside, 5.0) == {"first": 0, "second": 0}
    assert best_layout(worth, inside, 6.0) == {"first": 4, "second": 4}
