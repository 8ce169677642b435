"""One pass of gradients instead of a search: what each width of each unit is worth, and the layouts that follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from seam.masks.channels import ScoredChannels
from seam.masks.knapsack import Array, best_layout
from seam.masks.layout_costs import LayoutCosts
from seam.masks.widths import Layout, best_groups, whole_layout
from seam.search.objective import Objective
from seam.search.result import ChosenLayout


def _kept(felt: Float[Tensor, "batches groups"]) -> Float[Tensor, " widths"]:
    """Mean squares of the first n groups, added up; n = 0, 1, ..."""
    each = felt.square().mean(0)
    return torch.cat([each.new_zeros(1), each.cumsum(0)])


def _share(felt: Float[Tensor, "batches groups"]) -> Float[Tensor, " widths"]:
    kept = _kept(felt)
    return _of_whole(felt) * kept / kept[-1].clamp(min=1e-30)


def _width(felt: Float[Tensor, "batches groups"], power: float) -> Float[Tensor, " widths"]:
    number = felt.shape[1]
    return _of_whole(felt) * (torch.arange(number + 1, dtype=felt.dtype) / number) ** power


def _of_whole(felt: Float[Tensor, "batches groups"]) -> Float[Tensor, ""]:
    """Fourth root of the mean square of what the loss feels of the whole unit.

    Units matter, but they differ by far less than what single gradients say.
    """
    return felt.sum(1).square().mean() ** 0.25


RULES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "root_width": partial(_width, power=0.5),
    "share": _share,
    "width": partial(_width, power=0.75),
    "sum": _kept,
}
"""Name -> what is felt of a unit's groups, the most important first, (batches, groups), to what its
first n groups are worth, n = 0, 1, ...; in the order in which layouts are tried.

`sum` is the usual one, and for a layout that is trained afterwards not the best: what is left of the
trained weights matters less than that something of everything is left, in few wide layers."""


@dataclass(eq=False)
class OnePass:
    """What each batch's loss felt of each group of channels; a `Dynamics` under which nothing moves.

    Source: P. Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019, gates
    and their first-order terms; *differs*: gradients are of batches, and the rules that value widths
    are ours.
    """

    objective: Objective
    """Its scores are a `ScoredChannels`."""
    costs: LayoutCosts
    """Of the layouts of its units."""
    target: float
    """Share of the costs that the pass's own mask leaves."""
    rule: str = next(iter(RULES))
    """How widths are valued from now on."""
    kept: Layout = field(default_factory=dict)
    """That of the mask as it is."""
    _felt: list[Tensor] = field(default_factory=list)

    @torch.no_grad()
    def start(self) -> None:
        """Forget everything; all is kept."""
        self._felt.clear()

    def before_step(self, step: int) -> None:
        """Nothing: all is kept."""

    @torch.no_grad()
    def after_backward(self, step: int) -> None:
        """Note what the batch's loss feels of each group."""
        self._felt.append(self.objective.scored.signal().cpu())
        for parameter in (*self.objective.head.parameters(), *self.objective.norms):
            parameter.grad = None

    def end_round(self, steps: int) -> None:
        """Keep what the target pays for."""
        self.keep(self.target)

    def tensors(self) -> dict[str, Tensor]:
        """What was felt so far."""
        return {"felt": torch.stack(self._felt)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take what `tensors` gave, and make the mask of it."""
        self._felt = list(tensors["felt"].cpu())
        self.keep(self.target)

    def keep(self, budget: float) -> None:
        """Keep the layout of the greatest worth that `budget`, a share of the costs of all, pays for."""
        self.put(self.layout(budget, self.rule))

    def put(self, layout: Layout) -> None:
        """Keep the groups that are felt most, as many of each unit as the layout says."""
        scored = self.objective.scored
        assert isinstance(scored, ScoredChannels)
        scored.keep_groups(best_groups(self.costs.units, layout, self._importance))
        self.kept = layout

    @property
    def chosen(self) -> ChosenLayout:
        """The layout of the mask as it is, and what it costs."""
        whole = whole_layout(self.costs.units)
        return ChosenLayout(self.rule, self.kept, whole, self.costs.of(self.kept), self.costs.whole)

    def proposals(self, budget: float) -> dict[str, Layout]:
        """The layout of each rule."""
        return {rule: self.layout(budget, rule) for rule in RULES}

    def layout(self, budget: float, rule: str) -> Layout:
        """The layout of the greatest worth by a rule that `budget`, a share of the costs of all, pays for."""
        return best_layout(self._worth(rule), self.costs, budget * self.costs.whole)

    @property
    def _importance(self) -> Float[Tensor, " groups"]:
        return torch.stack(self._felt).square().mean(0)

    def _worth(self, rule: str) -> dict[str, Array]:
        """Unit -> what each of its widths is worth."""
        felt, importance = torch.stack(self._felt).double(), self._importance
        worth = {}
        for unit in self.costs.units:
            best_first = unit.groups[importance[unit.groups].argsort(descending=True, stable=True)]
            kept = RULES[rule](felt[:, best_first]).numpy()
            worth[unit.name] = kept[list(unit.widths)]
        return worth
