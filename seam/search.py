"""The mask search: gradient descent on a score a weight, for the weights a target problem needs.

Source: SeaM (ICSE'23) section 3; every difference is an option in `SearchConfig` or stated where it is made.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from seam.batches import LabelledImages, accuracy, predict, training_batches
from seam.channels import ScoredChannels, channel_groups
from seam.checkpoint import Pacer, digest_of, load_state, save_state
from seam.configs import SearchConfig
from seam.dynamics import Budget, Drift, Dynamics, fisher_saliency
from seam.errors import SearchError
from seam.head import TargetHead, fit_head
from seam.masks import ScoredWeights
from seam.norms import norm_parameters, norm_tensors, put_norm_tensors, recalibrate, use_batch_statistics
from seam.runtime import Runtime
from seam.search_result import Point, Round, SearchResult, fallback, frontier

logger = logging.getLogger(__name__)

_SALIENCY_STEPS = 64
"""Batches whose gradients the first ranking is made of."""
_FRONTIER_STEP = 1.6
"""Ratio of neighbouring budgets on the frontier."""
_FRONTIER_IMAGES = 2048
"""Training images that the heads along the frontier are fitted on; the chosen one's is fitted on all."""


class MaskSearch:
    """State of one search; `run` carries it from wherever it is to the end."""

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
            network: the source, eval mode; it is not changed. The weights stay as they are, and so do the normalisation layers
                unless `config.norm_layers` lets a copy of them learn.
            preprocess: uint8 NHWC images to the network's input.
            train: images of the problem the search learns from.
            val: images that candidates are chosen on.
            num_classes: number of target labels.
            config: the search's numbers.
            runtime: device and precision.
            seed: of shuffling and augmentation.
            source_val_accuracy: of the unchanged source on `val`, the floor that candidates must reach unless the config names one.
            weight_macs: parameter name -> multiply-adds of each of its weights for one image; needed for `config.cost` "macs".
            spare: further training images of label 1 ("other") of a binary problem; every round then draws as many of that label as `train`
                has, from both.

        Raises:
            SearchError: the network has nothing to mask, or its output is not finite.
        """
        self.config, self.runtime, self.seed = config, runtime, seed
        self.network = copy.deepcopy(network).to(runtime.device).eval().requires_grad_(False)
        self.preprocess = preprocess.to(runtime.device)
        self.train, self.val = train.to(runtime.device), val.to(runtime.device)
        self._rest = None if spare is None else torch.cat([train.images[train.labels == 1], spare.images]).to(runtime.device)
        self.floor = source_val_accuracy - config.accuracy_tolerance if config.accuracy_floor is None else config.accuracy_floor
        self.source_val_accuracy = source_val_accuracy
        self.weights = self._scored()
        logits = predict(self.network, self.train, self.preprocess)
        if not torch.isfinite(logits).all():
            raise SearchError("expected finite logits of the source on the training images, got NaN or infinite ones; check its weights and normalisation.")
        self.head_only = fit_head(logits, self.train.labels, num_classes)
        self.head_only_val_accuracy = accuracy(self.head_only(predict(self.network, self.val, self.preprocess)), self.val.labels)
        self.num_classes = num_classes
        self.head = self._first_head(logits.shape[1])
        self.steps_per_round = sum(1 for _ in self._batches(0, "none"))
        self._cost_of_weights = self._costs(weight_macs)
        self.learning_norms = [p.requires_grad_() for p in norm_parameters(self.network)] if config.norm_layers == "learn" else []
        self.dynamics = self._dynamics()
        self.rounds: list[Round] = []
        self.best: Round | None = None
        self.best_state: dict[str, Tensor] = {}
        self.seconds = 0.0
        self._step, self._round_started, self._total = 0, 0.0, torch.zeros(())

    def run(self, checkpoint: Path | None = None, on_round: Callable[[Round], None] | None = None) -> SearchResult:
        """Search until convergence, from the checkpoint if there is one.

        Args:
            checkpoint: file that holds the state after a round, see `Pacer`; a killed search continues from it to the same result.
            on_round: called after every new round.

        Raises:
            SearchError: the loss is not finite.
        """
        self.search_rounds(checkpoint, on_round)
        return self._result()

    def search_rounds(self, checkpoint: Path | None = None, on_round: Callable[[Round], None] | None = None) -> None:
        """The rounds of `run`, without what follows them; same arguments."""
        if checkpoint is not None:
            self.resume(checkpoint)
        pacer = Pacer()
        while not self.converged():
            for images, labels in self.begin_round():
                self.before_step()
                self.after_backward(self.descend(images, labels))
            found = self.end_round()
            if checkpoint is not None and pacer.due():
                self.save(checkpoint)
            if on_round is not None:
                on_round(found)

    def converged(self) -> bool:
        """Whether all rounds are done or, with `drift`, none of the last `patience` found a better candidate or removed 1% more weights."""
        if len(self.rounds) >= self.config.max_rounds:
            return True
        if self.config.method == "budget" or not self.config.patience or len(self.rounds) <= self.config.patience:
            return False
        recent = self.rounds[-self.config.patience :]
        still_removing = recent[-1].density < 0.99 * self.rounds[-self.config.patience - 1].density
        return not still_removing and not any(r.accepted for r in recent)

    def _scored(self) -> ScoredWeights:
        if self.config.structure == "weights":
            return ScoredWeights(self.network)
        return ScoredChannels(self.network, channel_groups(self.network, self.preprocess(self.train.images[:2])))

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
        free = [name for name, weight in self.weights.effective.items() if weight.ndim > 1 and not weight_macs.get(name)]
        if free:
            raise SearchError(f"search.cost macs: the multiply-adds of {free[0]} are not counted (attention, or an unused layer); use search.cost: weights.")
        return self.weights.spread(weight_macs)

    def _dynamics(self) -> Dynamics:
        costs, head = self._cost_of_weights, list(self.head.parameters())
        if self.config.method == "drift":
            return Drift(self.weights, head, self.learning_norms, self.config, costs, self.steps_per_round)
        return Budget(self.weights, head, self.learning_norms, self.config, costs, self._saliency, self.steps_per_round * self.config.max_rounds)

    def _saliency(self) -> Tensor:
        return fisher_saliency(self._signals())

    def _signals(self) -> Iterator[Tensor]:
        """Gradients with respect to the mask with everything kept, a batch at a time."""
        epochs = -(-_SALIENCY_STEPS // self.steps_per_round)
        batches = (batch for epoch in range(epochs) for batch in self._batches(-1 - epoch, self.config.augment))
        for (images, labels), _ in zip(batches, range(_SALIENCY_STEPS), strict=False):
            self.weights.refresh()
            self.descend(images, labels)
            for parameter in (*self.head.parameters(), *self.learning_norms):
                parameter.grad = None
            yield self.weights.signal()

    def _batches(self, number: int, augment: str) -> Iterator[tuple[Tensor, Tensor]]:
        return training_batches(self._drawn(number), self.preprocess, self.config.batch_size, augment, self.seed, number)

    def _drawn(self, number: int) -> LabelledImages:
        """The training images of a round: a function of (seed, round) alone."""
        if self._rest is None:
            return self.train
        wanted = self.train.images[self.train.labels == 0]
        generator = torch.Generator().manual_seed(hash((self.seed, number, 1)) % 2**63)
        chosen = torch.randperm(len(self._rest), generator=generator)[: len(self.train) - len(wanted)].to(self._rest.device)
        labels = torch.ones(len(self.train), dtype=self.train.labels.dtype, device=self.train.labels.device)
        labels[: len(wanted)] = 0
        return LabelledImages(torch.cat([wanted, self._rest[chosen]]), labels)

    def begin_round(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Start an epoch of steps; returns its batches. Each is then a `before_step`, a backward pass and an `after_backward`."""
        self._round_started = time.perf_counter()
        if not self.rounds:
            self.dynamics.start()
        self._step = len(self.rounds) * self.steps_per_round
        self._total = torch.zeros((), device=self.runtime.device)
        use_batch_statistics(self.network, self.config.norm_layers == "learn")
        return self._batches(len(self.rounds), self.config.augment)

    def before_step(self) -> None:
        """Make the mask of the step."""
        self.dynamics.before_step(self._step)
        self.weights.refresh()

    def after_backward(self, cross_entropy: Tensor) -> None:
        """Move everything that learns, given its gradients and the batch's cross-entropy (not waited for)."""
        self._total += cross_entropy
        self.dynamics.after_backward(self._step)
        self._step += 1

    def end_round(self, share: float = 1.0) -> Round:
        """Evaluate the candidate that the epoch made; `share` of the time since `begin_round` was this search's."""
        index = len(self.rounds)
        cross_entropy = float(self._total) / self.steps_per_round
        if not math.isfinite(cross_entropy):
            raise SearchError(f"round {index}: the cross-entropy is {cross_entropy}, expected a finite number; lower search.lr_head or search.lr_scores.")
        self.dynamics.end_round(self._step)
        self.weights.refresh()
        use_batch_statistics(self.network, False)
        density, val_accuracy = self.weights.density(), accuracy(predict(self._masked, self.val, self.preprocess), self.val.labels)
        found = Round(index, cross_entropy, density, val_accuracy, self.config.method == "drift" and self._is_better(density, val_accuracy))
        self.rounds.append(found)
        if self.config.method == "budget":
            self.best = found
        elif found.accepted or self.best is None or (not self.best.accepted and fallback(found) > fallback(self.best)):
            self.best = found
            self.best_state = {"scores": self.weights.scores.detach().clone(), **self._trained_along()}
        self.seconds += share * (time.perf_counter() - self._round_started)
        return found

    def image_bytes(self) -> int:
        """Memory its images take."""
        held = (self.train.images, self.val.images, *(() if self._rest is None else (self._rest,)))
        return sum(images.nbytes for images in held)

    def _trained_along(self) -> dict[str, Tensor]:
        """What learns beside the scores: copies of head and normalisation layers."""
        head = {f"head.{k}": v.clone() for k, v in self.head.state_dict().items()}
        return head | {f"norms.{k}": v for k, v in norm_tensors(self.network).items()}

    def _put_back(self, tensors: Mapping[str, Tensor]) -> None:
        """Undo what changed since `_trained_along`."""
        self.head.load_state_dict(_under("head.", tensors))
        put_norm_tensors(self.network, _under("norms.", tensors))

    def descend(self, images: Tensor, labels: Tensor) -> Tensor:
        """Leave the gradient of effective weights and head; returns the cross-entropy without waiting for it."""
        with self.runtime.autocast():
            logits = self.source_logits(images)
        loss = F.cross_entropy(self.head(logits.float()), labels)
        loss.backward()
        return loss.detach()

    def source_logits(self, images: Tensor) -> Tensor:
        """Logits of the source with the effective weights in place of its own."""
        logits: Tensor = functional_call(self.network, self.weights.effective, (images,))
        return logits

    def _masked(self, images: Tensor) -> Tensor:
        """The re-engineered model as it is now."""
        logits: Tensor = self.head(self.source_logits(images))
        return logits

    def _is_better(self, density: float, val_accuracy: float) -> bool:
        """Published rule, on val instead of test: fewest weights (in per mille) at the required accuracy, then accuracy."""
        if val_accuracy < self.floor:
            return False
        if self.best is None or not self.best.accepted:
            return True
        fewer = int(1000 * density) < int(1000 * self.best.density)
        return fewer or (density <= self.best.density and val_accuracy > self.best.val_accuracy)

    def _result(self) -> SearchResult:
        points, best = self._choose_budget() if self.config.method == "budget" else self._choose_round()
        return SearchResult(
            masks=self.weights.masks(),
            head=self.head.cpu().requires_grad_(False),
            head_only=self.head_only.cpu(),
            norms=norm_tensors(self.network),
            rounds=tuple(self.rounds),
            frontier=tuple(points),
            best=best,
            floor=self.floor,
            source_val_accuracy=self.source_val_accuracy,
            head_only_val_accuracy=self.head_only_val_accuracy,
            seconds=self.seconds,
        )

    def _choose_round(self) -> tuple[list[Point], Point]:
        """Put back the best round's scores and head."""
        assert self.best is not None
        with torch.no_grad():
            self.weights.scores.copy_(self.best_state["scores"])
        self._put_back(self.best_state)
        points = [Point(r.density, r.val_accuracy, r.round) for r in self.rounds]
        return frontier(points), points[self.best.round]

    def _choose_budget(self) -> tuple[list[Point], Point]:
        """Cut the final scores at rising budgets, each with head and statistics of its own; of those at the floor, keep the one with the best objective."""
        started = time.perf_counter()
        some = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(self.seed))[:_FRONTIER_IMAGES].to(self.runtime.device)
        sample = LabelledImages(self.train.images[some], self.train.labels[some])
        budgets = self._budgets()
        cuts = [self._cut(budget, sample) for budget in budgets]
        points, losses = [point for point, _ in cuts], [loss for _, loss in cuts]
        reached = [i for i, p in enumerate(points) if p.val_accuracy >= self.floor]
        if reached:
            chosen = min(reached, key=lambda i: losses[i] + self.config.alpha * budgets[i])
        else:
            chosen = max(range(len(points)), key=lambda i: fallback(points[i]))
        points[chosen], _ = self._cut(budgets[chosen], self.train)
        self.seconds += time.perf_counter() - started
        return points[::-1], points[chosen]

    def _budgets(self) -> list[float]:
        """The target and, unless it is to be taken whatever it costs, its multiples; smallest first."""
        budgets = [self.config.target]
        while self.floor > 0 and budgets[-1] * _FRONTIER_STEP < 0.6:
            budgets.append(budgets[-1] * _FRONTIER_STEP)
        return budgets

    def _cut(self, budget: float, images: LabelledImages) -> tuple[Point, float]:
        """Make mask and head at one budget, the head fitted to `images`; also returns the cross-entropy on val."""
        self.weights.keep(budget, self._cost_of_weights)
        self.weights.refresh()
        if self.learning_norms:
            batches = training_batches(images, self.preprocess, self.config.batch_size, self.config.augment, self.seed, 0)  # as they learnt it
            recalibrate(self.network, (self.source_logits(batch) for batch, _ in batches))
        head = fit_head(predict(self.source_logits, images, self.preprocess), images.labels, self.num_classes)
        self.head.load_state_dict(head.state_dict())
        logits = predict(self._masked, self.val, self.preprocess)
        point = Point(self.weights.density(), accuracy(logits, self.val.labels), len(self.rounds) - 1)
        return point, float(F.cross_entropy(logits, self.val.labels))

    @cached_property
    def _key(self) -> str:
        """Digest of everything the course of the search depends on."""
        seen = (self.train.images, self.train.labels, self.val.images, self.val.labels, *(() if self._rest is None else (self._rest,)))
        data = [int(t.sum(dtype=torch.int64)) for t in seen]
        weights = float(self.weights.weights.double().abs().sum())
        costs = None if self._cost_of_weights is None else float(self._cost_of_weights.double().square().sum())
        return digest_of(asdict(self.config), repr(self.runtime), self.seed, self.source_val_accuracy, data, weights, len(self.weights), costs)

    def save(self, path: Path) -> None:
        """Write the state after a round, atomically."""
        tensors = {"scores": self.weights.scores, **{f"dynamics.{k}": v for k, v in self.dynamics.tensors().items()}}
        tensors |= {f"now.{k}": v for k, v in self._trained_along().items()}
        tensors |= {f"best.{k}": v for k, v in self.best_state.items()}
        assert self.best is not None
        values = {"rounds": [asdict(r) for r in self.rounds], "best": self.best.round, "seconds": self.seconds}
        save_state(path, self._key, tensors, values)

    def resume(self, path: Path) -> None:
        """Continue from what `save` wrote, if it is there and of this search."""
        state = load_state(path, self._key)
        if state is None:
            return
        tensors, values = state
        with torch.no_grad():
            self.weights.scores.copy_(tensors["scores"])
        self._put_back(_under("now.", tensors))
        self.dynamics.restore(_under("dynamics.", tensors))
        self.best_state = {k: v.to(self.runtime.device) for k, v in _under("best.", tensors).items()}
        self.rounds = [Round(**r) for r in values["rounds"]]
        self.best = self.rounds[values["best"]]
        self.seconds = values["seconds"]
        logger.info("continuing after round %d", len(self.rounds) - 1)


def _under(prefix: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
