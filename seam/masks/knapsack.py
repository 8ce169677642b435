"""The layout of the greatest worth that a budget pays for: an exact choice, of one width for each unit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array, csr_array, vstack

from seam.errors import SearchError
from seam.masks.layout_costs import LayoutCosts
from seam.masks.widths import Layout

Array = npt.NDArray[np.float64]
_GAP = 1e-4
"""Relative distance to the best worth at which the choice ends."""


def best_layout(worth: Mapping[str, Array], costs: LayoutCosts, budget: float) -> Layout:
    """Choose a width for each unit.

    A multiple-choice knapsack whose costs are of units and of pairs of them, as a mixed-integer
    linear program: the product of two choices is a variable of its own. Units that may vanish and
    that one layer connects are the inside of one residual block, and vanish together.

    Args:
        worth: unit -> what each of its widths is worth, in their order.
        costs: what layouts cost.
        budget: the most that one may cost, in the unit of `costs`.

    Raises:
        SearchError: every layout costs more, or no choice was found.
    """
    program = _Program(costs)
    order = [unit.name for unit in costs.units]
    gains = np.concatenate([np.asarray(worth[name], np.float64) for name in order])
    scale = gains.max() or 1.0
    found = program.solve(-gains / scale, budget)
    if found is None:
        smallest = program.solve(program.alone, np.inf)
        least = "unknown" if smallest is None else f"{costs.of(smallest):.4g}"
        raise SearchError(
            f"a budget of {budget:.4g} of {costs.whole:.4g}: expected one that some layout of the channels keeps to,"
            f" got one below the smallest, {least}",
            hint="target",
        )
    return found


class _Program:
    """The choices and what ties them, without worth and budget."""

    def __init__(self, costs: LayoutCosts) -> None:
        self._costs = costs
        sizes = [len(unit.widths) for unit in costs.units]
        self._first = dict(zip((u.name for u in costs.units), np.cumsum([0, *sizes]).tolist(), strict=False))
        self._choices = sum(sizes)
        self.alone = np.concatenate([costs.alone[unit.name] for unit in costs.units])
        self._products = np.cumsum([self._choices, *(table.size for table in costs.pairs.values())]).tolist()
        self._of_all = np.concatenate([self.alone, *(table.ravel() for table in costs.pairs.values())])
        self._ties = self._one_each() + self._products_of_choices() + self._vanish_together()

    def solve(self, losses: Array, budget: float) -> Layout | None:
        """The choice of the smallest total of `losses`, one a width of each unit; None: there is none."""
        rows, equal = zip(*self._ties, strict=True)
        matrix, right = vstack(rows), np.array(equal)
        constraints = [LinearConstraint(matrix, right, right)]
        if np.isfinite(budget):
            most = (budget - self._costs.fixed) * (1 + 1e-9)
            constraints.append(LinearConstraint(csr_array(self._of_all[None]), -np.inf, most))
        total = np.zeros(len(self._of_all))
        total[: self._choices] = losses
        if not np.isfinite(budget):
            total = self._of_all
        whole = np.arange(len(total)) < self._choices
        done = milp(
            total, integrality=whole, bounds=Bounds(0, 1), constraints=constraints, options={"mip_rel_gap": _GAP}
        )
        if done.x is None:
            return None
        return {
            unit.name: unit.widths[int(done.x[first : first + len(unit.widths)].argmax())]
            for unit, first in zip(self._costs.units, self._first.values(), strict=True)
        }

    def _row(self, entries: Mapping[int, float]) -> csr_array:
        places, values = list(entries), list(entries.values())
        return csr_array(coo_array((values, ([0] * len(places), places)), shape=(1, self._products[-1])))

    def _one_each(self) -> list[tuple[csr_array, float]]:
        return [
            (self._row({self._first[unit.name] + i: 1.0 for i in range(len(unit.widths))}), 1.0)
            for unit in self._costs.units
        ]

    def _products_of_choices(self) -> list[tuple[csr_array, float]]:
        """A table's row adds up to the one choice, its column to the other."""
        ties = []
        for (read, made), table, start in zip(
            self._costs.pairs, self._costs.pairs.values(), self._products, strict=False
        ):
            numbers = start + np.arange(table.size).reshape(table.shape)
            for name, lines in ((read, numbers), (made, numbers.T)):
                for i, line in enumerate(lines):
                    ties.append((self._row({**dict.fromkeys(line.tolist(), 1.0), self._first[name] + i: -1.0}), 0.0))
        return ties

    def _vanish_together(self) -> list[tuple[csr_array, float]]:
        may = {unit.name for unit in self._costs.units if unit.widths[0] == 0}
        pairs = ((read, made) for read, made in self._costs.pairs if {read, made} <= may)
        return [(self._row({self._first[one]: 1.0, self._first[other]: -1.0}), 0.0) for one, other in pairs]
