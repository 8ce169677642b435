"""The mask search: gradient descent on a score a weight, for the weights a target problem needs.

Source: SeaM (ICSE'23) section 3; every difference is an option in `SearchConfig` or stated where it
is made.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seam.checkpoint import fingerprint
from seam.configs.search import SearchConfig
from seam.data.images import LabelledImages, redrawn
from seam.errors import SearchError
from seam.masks.channels import ScoredChannels
from seam.masks.groups import channel_groups
from seam.masks.weights import ScoredWeights
from seam.networks.head import TargetHead, fit_head
from seam.networks.norms import norm_tensors, recalibrate
from seam.networks.predict import accuracy, predict
from seam.runtime import Runtime
from seam.search.loop import SearchLoop, under
from seam.search.result import Point, Round, SearchResult, fallback, frontier
from seam.training.batches import training_batches

_FRONTIER_STEP = 1.6
"""Ratio of neighbouring budgets on the frontier."""
_FRONTIER_IMAGES = 2048
"""Training images that the heads along the frontier are fitted on; the chosen one's is fitted on
all."""


class MaskSearch(SearchLoop):
    """The search for one target problem; `run` carries it from wherever it is to the end."""

    head: TargetHead

    def __init__(
        self,
        network: nn.Module,
        preprocess: nn.Module,
        train: LabelledImages,
        val: LabelledImages,
        num_classes: int,
        config: SearchConfig,
        runtime: Runtime,
        seed: int,
        source_val_accuracy: float,
        weight_macs: Mapping[str, float] | None = None,
        spare: LabelledImages | None = None,
    ) -> None:
        """Prepare a search.

        Args:
            network: the source, eval mode; it is not changed. The weights stay as they are, and so
                do the normalisation layers unless `config.norm_layers` lets a copy of them learn.
            preprocess: uint8 NHWC images to the network's input.
            train: images of the problem the search learns from.
            val: images that candidates are chosen on.
            num_classes: number of target labels.
            config: the search's numbers.
            runtime: device and precision.
            seed: of shuffling and augmentation.
            source_val_accuracy: of the unchanged source on `val`, the floor that candidates must
                reach unless the config names one.
            weight_macs: parameter name -> multiply-adds of each of its weights for one image;
                needed for `config.cost` "macs".
            spare: further training images of label 1 ("other") of a binary problem; every round
                then draws as many of that label as `train` has, from both.

        Raises:
            SearchError: the network has nothing to mask, or its output is not finite.
        """
        searched = copy.deepcopy(network).to(runtime.device).eval().requires_grad_(False)
        super().__init__(searched, preprocess, train, val, config, runtime, seed)
        self._redrawn = redrawn(self.train, spare)
        self.floor = (
            source_val_accuracy - config.accuracy_tolerance if config.accuracy_floor is None else config.accuracy_floor
        )
        self.source_val_accuracy = source_val_accuracy
        self.weights = self._scored()
        logits = predict(self.network, self.train, self.preprocess)
        if not torch.isfinite(logits).all():
            raise SearchError(
                "expected finite logits of the source on the training images, got NaN or infinite ones; check its"
                " weights and normalisation."
            )
        self.head_only = fit_head(logits, self.train.labels, num_classes)
        self.head_only_val_accuracy = accuracy(
            self.head_only(predict(self.network, self.val, self.preprocess)), self.val.labels
        )
        self.num_classes = num_classes
        self._cost_of_weights = self._costs(weight_macs)
        self.best: Round | None = None
        self.best_state: dict[str, Tensor] = {}
        self._get_ready(self._first_head(logits.shape[1]), self._cost_of_weights)

    def run(self, checkpoint: Path | None = None, on_round: Callable[[Round], None] | None = None) -> SearchResult:
        """Search until convergence, and choose; arguments and errors as of `search_rounds`."""
        self.search_rounds(checkpoint, on_round)
        return self._result()

    def converged(self) -> bool:
        """Whether there is no round to come.

        All are done or, with `drift`, none of the last `patience` found a better candidate or
        removed 1% more weights.
        """
        if len(self.rounds) >= self.config.max_rounds:
            return True
        if self.config.method == "budget" or not self.config.patience or len(self.rounds) <= self.config.patience:
            return False
        recent = self.rounds[-self.config.patience :]
        still_removing = recent[-1].density < 0.99 * self.rounds[-self.config.patience - 1].density
        return not still_removing and not any(r.accepted for r in recent)

    def _scored(self) -> ScoredWeights:
        assert self.config.structure != "hybrid", "two searches, see seam.search.hybrid"
        if self.config.structure == "weights":
            return ScoredWeights(self.network)
        return ScoredChannels(
            self.network,
            channel_groups(self.network, self.preprocess(self.train.images[:2])),
            self.config.channel_block,
        )

    def _first_head(self, num_source_classes: int) -> TargetHead:
        torch.manual_seed(self.seed)
        head = TargetHead(num_source_classes, self.num_classes).to(self.runtime.device)
        if self.config.head_start == "fitted":
            head.load_state_dict(self.head_only.state_dict())
        return head

    def _costs(self, weight_macs: Mapping[str, float] | None) -> Tensor | None:
        """Cost of every weight, flat; None: all the same."""
        if self.config.cost == "weights":
            return None
        if weight_macs is None:
            raise SearchError("search.cost macs: expected the multiply-adds of every weight, got none.")
        free = [
            name for name, weight in self.weights.effective.items() if weight.ndim > 1 and not weight_macs.get(name)
        ]
        if free:
            raise SearchError(
                f"search.cost macs: the multiply-adds of {free[0]} are not counted (attention, or an unused layer); use"
                " search.cost: weights."
            )
        return self.weights.spread(weight_macs)

    def _drawn(self, number: int) -> LabelledImages:
        """The training images of a round: a function of (seed, round) alone."""
        return self.train if self._redrawn is None else self._redrawn.epoch(self.seed, number)

    def image_bytes(self) -> int:
        """Memory its images take."""
        held = (self.train.images, self.val.images, *(() if self._redrawn is None else (self._redrawn.rest,)))
        return sum(images.nbytes for images in held)

    def descend(self, images: Tensor, labels: Tensor) -> Tensor:
        """As in `SearchLoop`; the head in full precision."""
        with self.runtime.autocast():
            logits = self.source_logits(images)
        loss = F.cross_entropy(self.head(logits.float()), labels)
        loss.backward()
        return loss.detach()

    def masked(self, images: Tensor) -> Tensor:
        """The re-engineered model as it is now."""
        logits: Tensor = self.head(self.source_logits(images))
        return logits

    def end_round(self, share: float = 1.0) -> Round:
        """As in `SearchLoop`, and keep the best candidate."""
        found = super().end_round(share)
        if self.config.method == "budget":
            self.best = found
        elif found.accepted or self.best is None or (not self.best.accepted and fallback(found) > fallback(self.best)):
            self.best = found
            self.best_state = {"scores": self.weights.scores.detach().clone(), **self._trained_along()}
        return found

    def _accepts(self, density: float, val_accuracy: float) -> bool:
        """Published rule of `drift`, on val instead of test.

        Fewest weights (in per mille) at the required accuracy, then accuracy.
        """
        if self.config.method == "budget" or val_accuracy < self.floor:
            return False
        if self.best is None or not self.best.accepted:
            return True
        fewer = int(1000 * density) < int(1000 * self.best.density)
        return fewer or (density <= self.best.density and val_accuracy > self.best.val_accuracy)

    def _result(self) -> SearchResult:
        points, candidates, best = self._choose_budget() if self.config.method == "budget" else self._choose_round()
        return SearchResult(
            masks=self.weights.masks(),
            head=self.head.cpu().requires_grad_(False),
            head_only=self.head_only.cpu(),
            norms=norm_tensors(self.network),
            rounds=tuple(self.rounds),
            frontier=tuple(points),
            candidates=tuple(candidates),
            best=best,
            floor=self.floor,
            source_val_accuracy=self.source_val_accuracy,
            head_only_val_accuracy=self.head_only_val_accuracy,
            seconds=self.seconds,
        )

    def _choose_round(self) -> tuple[list[Point], list[dict[str, Tensor]], Point]:
        """Put back the best round's scores and head."""
        assert self.best is not None
        with torch.no_grad():
            self.weights.scores.copy_(self.best_state["scores"])
        self._put_back(self.best_state)
        points = [Point(r.density, r.val_accuracy, r.round) for r in self.rounds]
        return frontier(points), [], points[self.best.round]

    def _choose_budget(self) -> tuple[list[Point], list[dict[str, Tensor]], Point]:
        """Cut the final scores at rising budgets, each with head and statistics of its own.

        Of those at the floor, keep the one with the best objective.
        """
        started = time.perf_counter()
        some = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(self.seed))[
            :_FRONTIER_IMAGES
        ].to(self.runtime.device)
        sample = LabelledImages(self.train.images[some], self.train.labels[some])
        budgets = self._budgets()
        cuts = [self._cut(budget, sample) for budget in budgets]
        points, losses, masks = (list(column) for column in zip(*cuts, strict=True))
        reached = [i for i, p in enumerate(points) if p.val_accuracy >= self.floor]
        if reached:
            chosen = min(reached, key=lambda i: losses[i] + self.config.alpha * budgets[i])
        else:
            chosen = max(range(len(points)), key=lambda i: fallback(points[i]))
        points[chosen], *_ = self._cut(budgets[chosen], self.train)
        self.seconds += time.perf_counter() - started
        return points[::-1], masks[::-1], points[chosen]

    def _budgets(self) -> list[float]:
        """The target and, unless it is to be taken whatever it costs, its multiples; smallest first."""
        budgets = [self.config.target]
        while self.floor > 0 and budgets[-1] * _FRONTIER_STEP < 0.6:
            budgets.append(budgets[-1] * _FRONTIER_STEP)
        return budgets

    def _cut(self, budget: float, images: LabelledImages) -> tuple[Point, float, dict[str, Tensor]]:
        """Make mask and head at one budget, the head fitted to `images`.

        Also returns the cross-entropy on val, and the masks.
        """
        self.weights.keep(budget, self._cost_of_weights)
        self.weights.refresh()
        if self.learning_norms:
            batches = training_batches(
                images, self.preprocess, self.config.batch_size, self.config.augment, self.seed, 0
            )  # as they learnt it
            recalibrate(self.network, (self.source_logits(batch) for batch, _ in batches))
        head = fit_head(predict(self.source_logits, images, self.preprocess), images.labels, self.num_classes)
        self.head.load_state_dict(head.state_dict())
        logits = predict(self.masked, self.val, self.preprocess)
        point = Point(self.weights.density(), accuracy(logits, self.val.labels), len(self.rounds) - 1)
        return point, float(F.cross_entropy(logits, self.val.labels)), self.weights.masks()

    def _depends_on(self) -> tuple[object, ...]:
        rest = () if self._redrawn is None else (self._redrawn.rest,)
        costs = () if self._cost_of_weights is None else (self._cost_of_weights,)
        return self.source_val_accuracy, len(rest), fingerprint(self.network.state_dict(), *rest, *costs)

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, values = super()._state()
        assert self.best is not None
        return {**tensors, **{f"best.{k}": v for k, v in self.best_state.items()}}, {**values, "best": self.best.round}

    def _restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        super()._restore(tensors, values)
        self.best_state = {k: v.to(self.runtime.device) for k, v in under("best.", tensors).items()}
        self.best = self.rounds[values["best"]]
