"""The mask search: gradient descent on a score a weight, for the weights a target problem needs.

Source: SeaM (ICSE'23) section 3; every difference is an option in `SearchConfig` or stated where it is made.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from seam.batches import LabelledImages, accuracy, predict, training_batches
from seam.checkpoint import Pacer, digest_of, load_state, optimizer_tensors, restore_optimizer, save_state
from seam.configs import SearchConfig
from seam.errors import SearchError
from seam.head import TargetHead, fit_head
from seam.masks import ScoredWeights
from seam.runtime import Runtime

logger = logging.getLogger(__name__)

_ADAM_EPS = 1e-12
"""*Differs* from the published 1e-8, which is as large as alpha / number of weights for big networks and stalls their drift."""


@dataclass(frozen=True)
class Round:
    """One epoch of the search, measured at its end."""

    round: int
    cross_entropy: float
    """Mean over the round's training batches."""
    density: float
    val_accuracy: float
    accepted: bool
    """Whether this became the best candidate."""


@dataclass(frozen=True)
class SearchResult:
    """The best candidate of a search, and how it was found."""

    masks: dict[str, Tensor]
    head: TargetHead
    head_only: TargetHead
    """The head fitted with all weights kept: what the head alone achieves."""
    rounds: tuple[Round, ...]
    best: Round
    source_val_accuracy: float
    head_only_val_accuracy: float
    seconds: float
    """Of computing, over all resumed parts."""

    @property
    def met_floor(self) -> bool:
        """Whether any candidate reached the required accuracy."""
        return any(r.accepted for r in self.rounds)


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
    ) -> None:
        """Prepare a search.

        Args:
            network: the source, eval mode; it is not changed. BatchNorm statistics and every weight stay as they are.
            preprocess: uint8 NHWC images to the network's input.
            train: images of the problem the search learns from.
            val: images that candidates are chosen on.
            num_classes: number of target labels.
            config: the search's numbers.
            runtime: device and precision.
            seed: of shuffling and augmentation.
            source_val_accuracy: of the unchanged source on `val`, the floor that candidates must reach.

        Raises:
            SearchError: the network has nothing to mask, or its output is not finite.
        """
        self.config, self.runtime, self.seed = config, runtime, seed
        self.network = network.to(runtime.device).eval().requires_grad_(False)
        self.preprocess = preprocess.to(runtime.device)
        self.train, self.val = train.to(runtime.device), val.to(runtime.device)
        self.floor = source_val_accuracy - config.accuracy_tolerance
        self.source_val_accuracy = source_val_accuracy
        self.weights = ScoredWeights(self.network)
        logits = predict(self.network, self.train, self.preprocess)
        if not torch.isfinite(logits).all():
            raise SearchError("expected finite logits of the source on the training images, got NaN or infinite ones; check its weights and normalisation.")
        self.head_only = fit_head(logits, self.train.labels, num_classes)
        self.head_only_val_accuracy = accuracy(self.head_only(predict(self.network, self.val, self.preprocess)), self.val.labels)
        self.head = TargetHead(logits.shape[1], num_classes).to(runtime.device)
        self.head.load_state_dict(self.head_only.state_dict())
        self.optimizer = torch.optim.Adam(
            [{"params": [self.weights.scores], "lr": config.lr_scores}, {"params": list(self.head.parameters()), "lr": config.lr_head}],
            eps=_ADAM_EPS,
            fused=True,
        )
        self.drift = config.alpha / len(self.weights)
        self.rounds: list[Round] = []
        self.best: Round | None = None
        self.best_state: dict[str, Tensor] = {}
        self.seconds = 0.0

    def run(self, checkpoint: Path | None = None, on_round: Callable[[Round], None] | None = None) -> SearchResult:
        """Search until convergence, from the checkpoint if there is one.

        Args:
            checkpoint: file that holds the state after a round, see `Pacer`; a killed search continues from it to the same result.
            on_round: called after every new round.

        Raises:
            SearchError: the loss is not finite.
        """
        key = self._key()
        if checkpoint is not None:
            self._resume(checkpoint, key)
        pacer = Pacer()
        while not self.converged():
            started = time.perf_counter()
            self._round()
            self.seconds += time.perf_counter() - started
            if checkpoint is not None and pacer.due():
                self._save(checkpoint, key)
            if on_round is not None:
                on_round(self.rounds[-1])
        return self._result()

    def converged(self) -> bool:
        """Whether all rounds are done, or none of the last `patience` found a better candidate or removed 1% more weights."""
        if len(self.rounds) >= self.config.max_rounds:
            return True
        if len(self.rounds) <= self.config.patience:
            return False
        recent = self.rounds[-self.config.patience :]
        still_removing = recent[-1].density < 0.99 * self.rounds[-self.config.patience - 1].density
        return not still_removing and not any(r.accepted for r in recent)

    def _round(self) -> None:
        """One epoch of steps and one evaluation."""
        index = len(self.rounds)
        total = torch.zeros((), device=self.runtime.device)
        steps = 0
        for images, labels in training_batches(self.train, self.preprocess, self.config.batch_size, self.config.augment, self.seed, index):
            total += self._step(images, labels)
            steps += 1
        cross_entropy = float(total) / steps
        if not math.isfinite(cross_entropy):
            raise SearchError(f"round {index}: the cross-entropy is {cross_entropy}, expected a finite number; lower search.lr_head or search.lr_scores.")
        self.weights.refresh()
        density, val_accuracy = self.weights.density(), accuracy(predict(self._masked, self.val, self.preprocess), self.val.labels)
        found = Round(index, cross_entropy, density, val_accuracy, self._is_better(density, val_accuracy))
        self.rounds.append(found)
        if found.accepted or self.best is None or (not self.best.accepted and _fallback(found) > _fallback(self.best)):
            self.best = found
            self.best_state = {"scores": self.weights.scores.detach().clone(), **{f"head.{k}": v.clone() for k, v in self.head.state_dict().items()}}

    def _step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One descent step on scores and head; returns the cross-entropy without waiting for it."""
        self.weights.refresh()
        self.optimizer.zero_grad(set_to_none=False)
        with self.runtime.autocast():
            logits = self._source_logits(images)
        loss = F.cross_entropy(self.head(logits.float()), labels)
        loss.backward()
        self.weights.backward(self.drift)
        self.optimizer.step()
        return loss.detach()

    def _source_logits(self, images: Tensor) -> Tensor:
        """Logits of the source with the effective weights in place of its own."""
        logits: Tensor = functional_call(self.network, self.weights.effective, (images,))
        return logits

    def _masked(self, images: Tensor) -> Tensor:
        """The re-engineered model as it is now."""
        logits: Tensor = self.head(self._source_logits(images))
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
        assert self.best is not None
        with torch.no_grad():
            self.weights.scores.copy_(self.best_state["scores"])
        self.head.load_state_dict({k.removeprefix("head."): v for k, v in self.best_state.items() if k.startswith("head.")})
        return SearchResult(
            masks=self.weights.masks(),
            head=self.head.cpu().requires_grad_(False),
            head_only=self.head_only.cpu(),
            rounds=tuple(self.rounds),
            best=self.best,
            source_val_accuracy=self.source_val_accuracy,
            head_only_val_accuracy=self.head_only_val_accuracy,
            seconds=self.seconds,
        )

    def _key(self) -> str:
        """Digest of everything the course of the search depends on."""
        data = [float(t.double().sum()) for t in (self.train.images, self.train.labels, self.val.images, self.val.labels)]
        weights = float(self.weights.weights.double().abs().sum())
        return digest_of(asdict(self.config), repr(self.runtime), self.seed, self.source_val_accuracy, data, weights, len(self.weights))

    def _save(self, path: Path, key: str) -> None:
        tensors = {"scores": self.weights.scores, **optimizer_tensors(self.optimizer, "adam")}
        tensors |= {f"now.{k}": v for k, v in self.head.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.best_state.items()}
        assert self.best is not None
        values = {"rounds": [asdict(r) for r in self.rounds], "best": self.best.round, "seconds": self.seconds}
        save_state(path, key, tensors, values)

    def _resume(self, path: Path, key: str) -> None:
        state = load_state(path, key)
        if state is None:
            return
        tensors, values = state
        with torch.no_grad():
            self.weights.scores.copy_(tensors["scores"])
        self.head.load_state_dict(_under("now.", tensors))
        restore_optimizer(self.optimizer, tensors, "adam")
        self.best_state = {k: v.to(self.runtime.device) for k, v in _under("best.", tensors).items()}
        self.rounds = [Round(**r) for r in values["rounds"]]
        self.best = self.rounds[values["best"]]
        self.seconds = values["seconds"]
        logger.info("continuing after round %d", len(self.rounds) - 1)


def frontier(rounds: tuple[Round, ...]) -> list[Round]:
    """The rounds that no other beats in both density and val accuracy, densest first."""
    kept: list[Round] = []
    for r in sorted(rounds, key=lambda r: (r.density, -r.val_accuracy)):
        if not kept or r.val_accuracy > kept[-1].val_accuracy:
            kept.append(r)
    return kept[::-1]


def _fallback(found: Round) -> float:
    """What is maximised while no candidate reaches the floor. Source: the published code, *same*."""
    return found.val_accuracy - found.density


def _under(prefix: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
