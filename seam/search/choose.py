"""Which candidate of a search is kept: of the rounds or, with a budget, of the final scores cut at rising budgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from seam.configs.search import SearchConfig
from seam.data.images import LabelledImages
from seam.data.lazy import select
from seam.masks.scores import density_of, masks_of, refresh
from seam.networks.head import fit_head
from seam.networks.norms import recalibrate
from seam.networks.predict import accuracy, predict
from seam.search.images import SearchImages
from seam.search.objective import CrossEntropy, Objective, learnt, put_back
from seam.search.result import Point, Round, fallback, frontier

_FRONTIER_STEP = 1.6
"""Ratio of neighbouring budgets on the frontier."""
_BEYOND = 3
"""Budgets below the target on the frontier: what more would cost. None of them is chosen."""
_FRONTIER_IMAGES = 2048
"""Training images that the heads along the frontier are fitted on; the chosen one's is fitted on
all."""


@dataclass(frozen=True)
class Choice:
    """The candidate that is kept, which the model is now, and those it was chosen from."""

    best: Point
    frontier: tuple[Point, ...]
    """Densest first."""
    candidates: tuple[dict[str, Tensor], ...]
    """Masks of `frontier`, where they are kept."""


class BestRound:
    """The best round so far, with what had been learnt by then.

    Source: the published rule, *same* but for val instead of test: fewest weights (in per mille) at
    the required accuracy, then accuracy.
    """

    def __init__(self, objective: Objective, floor: float) -> None:
        """Watch the rounds of a search for this objective; `floor` is the val accuracy required."""
        self._objective, self._floor = objective, floor
        self.found: Round | None = None
        self._learnt: dict[str, Tensor] = {}

    def accepts(self, density: float, val_accuracy: float) -> bool:
        """Whether a round reaches the floor and is better than all before it."""
        if val_accuracy < self._floor:
            return False
        if self.found is None or not self.found.accepted:
            return True
        fewer = int(1000 * density) < int(1000 * self.found.density)
        return fewer or (density <= self.found.density and val_accuracy > self.found.val_accuracy)

    def note(self, now: Round) -> None:
        """Keep a round that was accepted or, while none was, one that is a better compromise."""
        best = self.found
        if now.accepted or best is None or (not best.accepted and fallback(now) > fallback(best)):
            self.found, self._learnt = now, learnt(self._objective)

    def choose(self, rounds: Sequence[Round]) -> Choice:
        """Make the model what it was after the best round."""
        assert self.found is not None
        put_back(self._objective, self._learnt)
        self._objective.scored.keep_above(0.0)
        points = [Point(r.density, r.val_accuracy, r.round) for r in rounds]
        return Choice(points[self.found.round], tuple(frontier(points)), ())

    def tensors(self) -> dict[str, Tensor]:
        """State for a checkpoint, beside the number of the best round."""
        return self._learnt

    def restore(self, tensors: Mapping[str, Tensor], found: Round | None) -> None:
        """Take what `tensors` gave, of the round `found`."""
        device = self._objective.scored.scores.device
        self._learnt, self.found = {k: v.to(device) for k, v in tensors.items()}, found


@dataclass(frozen=True)
class BudgetCuts:
    """The final scores of a search, to be cut at rising budgets, each with head and statistics of its own."""

    objective: CrossEntropy
    """Its head, a `TargetHead`, is after the network."""
    images: SearchImages
    config: SearchConfig
    keep: Callable[[float], None]
    """Makes the mask that keeps a share of the cost."""
    floor: float
    """Val accuracy that candidates must reach."""
    num_classes: int

    def choose(self, rounds: Sequence[Round]) -> Choice:
        """Of the candidates at the floor, make the model the one with the best objective on val."""
        train, device = self.images.train, self.images.train.labels.device
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(self.images.seed))
        some = order[:_FRONTIER_IMAGES].to(device)
        sample = LabelledImages(select(train.images, some), train.labels[some])
        budgets, last = self._budgets(), len(rounds) - 1
        cuts = [self.cut(partial(self.keep, budget), sample, last) for budget in budgets]
        points, losses, masks = (list(column) for column in zip(*cuts, strict=True))
        allowed = [i for i, budget in enumerate(budgets) if budget >= self.config.target]
        reached = [i for i in allowed if points[i].val_accuracy >= self.floor]
        if reached:
            chosen = min(reached, key=lambda i: losses[i] + self.config.alpha * budgets[i])
        else:
            chosen = max(allowed, key=lambda i: fallback(points[i]))
        points[chosen], *_ = self.cut(partial(self.keep, budgets[chosen]), train, last)
        return Choice(points[chosen], tuple(points[::-1]), tuple(masks[::-1]))

    def _budgets(self) -> list[float]:
        """The target and, unless it is to be taken whatever it costs, shares and multiples of it; smallest first."""
        target = self.config.target
        if self.floor == 0:
            return [target]
        budgets = [target / _FRONTIER_STEP**i for i in range(_BEYOND, 0, -1)] + [target]
        while budgets[-1] * _FRONTIER_STEP < 0.6:
            budgets.append(budgets[-1] * _FRONTIER_STEP)
        return budgets

    def cut(
        self, make_mask: Callable[[], None], images: LabelledImages, last: int
    ) -> tuple[Point, float, dict[str, Tensor]]:
        """Make a mask, the statistics of the normalisation layers and the head, fitted to `images`.

        Also returns the cross-entropy on val, and the masks.
        """
        objective, val, preprocess = self.objective, self.images.val, self.images.preprocess
        make_mask()
        refresh(objective.scored)
        if objective.norms:
            batches = self.images.batches(images, 0)  # as they learnt it
            recalibrate(objective.network, (objective.network_logits(batch) for batch, _ in batches))
        head = fit_head(predict(objective.network_logits, images, preprocess), images.labels, self.num_classes)
        objective.head.load_state_dict(head.state_dict())
        logits = predict(objective.logits, val, preprocess)
        point = Point(density_of(objective.scored), accuracy(logits, val.labels), last)
        return point, float(F.cross_entropy(logits, val.labels)), masks_of(objective.scored)
