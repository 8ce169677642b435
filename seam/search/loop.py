"""A mask search: rounds of steps, an evaluation after each, and checkpoints.

What is descended is the objective's, how scores move the dynamics', when to end the stop rule's.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seam.checkpoint import Pacer, digest_of, fingerprint, load_state, save_state
from seam.configs.search import SearchConfig
from seam.errors import SearchError
from seam.masks.scores import density_of, refresh
from seam.networks.norms import use_batch_statistics
from seam.networks.predict import accuracy, predict
from seam.runtime import Runtime
from seam.search.choose import BestRound
from seam.search.dynamics import Dynamics
from seam.search.images import SearchImages
from seam.search.objective import Objective, learnt, put_back, under
from seam.search.result import Round
from seam.search.stop import Stop

logger = logging.getLogger(__name__)

_STATE = 4
"""Version of what a checkpoint holds; one of another version is of no use."""


@dataclass(eq=False)
class SearchLoop:
    """A search and how far it is."""

    objective: Objective
    dynamics: Dynamics
    stop: Stop
    images: SearchImages
    config: SearchConfig
    runtime: Runtime
    best: BestRound | None = None
    """Keeps the best round, where one is to be chosen."""
    inputs: tuple[object, ...] = ()
    """What the course of the search depends on beside objective, images, config and runtime; for
    `digest_of`."""
    rounds: list[Round] = field(default_factory=list)
    """Those that are done."""
    seconds: float = 0.0
    """Of computing, over all resumed parts."""
    _step: int = 0
    _round_started: float = 0.0
    _total: Tensor = field(default_factory=lambda: torch.zeros(()))

    def run(self, checkpoint: Path | None = None, on_round: Callable[[Round], None] | None = None) -> None:
        """All rounds, from the checkpoint if there is one.

        Args:
            checkpoint: file that holds the state after a round, see `Pacer`; a killed search
                continues from it to the same result.
            on_round: called after every new round.

        Raises:
            SearchError: the loss is not finite.
        """
        if checkpoint is not None:
            self.resume(checkpoint)
        pacer = Pacer()
        while not self.ended():
            found = self.next_round()
            if checkpoint is not None and pacer.due():
                self.save(checkpoint)
            if on_round is not None:
                on_round(found)

    def ended(self) -> bool:
        """Whether there is no round to come."""
        return self.stop(self.rounds)

    def next_round(self) -> Round:
        """One epoch of steps and its evaluation."""
        for images, labels in self.begin_round():
            self.step(images, labels)
        return self.end_round()

    def step(self, images: Tensor, labels: Tensor) -> None:
        """One step on a batch: the mask, the gradients, the move."""
        self.before_step()
        self.after_backward(self.objective.descend(images, labels))

    def begin_round(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Start an epoch of steps and return its batches.

        Each is then a `before_step`, a backward pass and an `after_backward`.
        """
        self._round_started = time.perf_counter()
        if not self.rounds:
            self.dynamics.start()
        self._step = len(self.rounds) * self.images.steps
        self._total = torch.zeros((), device=self.runtime.device)
        use_batch_statistics(self.objective.network, self.config.batch_statistics)
        return self.images.epoch(len(self.rounds))

    def before_step(self) -> None:
        """Make the mask of the step."""
        self.dynamics.before_step(self._step)
        refresh(self.objective.scored)

    def after_backward(self, loss: Tensor) -> None:
        """Move everything that learns, given its gradients and the batch's loss (not waited for)."""
        self._total += loss
        self.dynamics.after_backward(self._step)
        self._step += 1

    def end_round(self, share: float = 1.0) -> Round:
        """Evaluate the candidate that the epoch made; `share` of the time since `begin_round` was this search's."""
        index = len(self.rounds)
        loss = float(self._total) / self.images.steps
        if not math.isfinite(loss):
            raise SearchError(
                f"round {index}: the cross-entropy is {loss}, expected a finite number", hint="search_rate"
            )
        self.dynamics.end_round(self._step)
        refresh(self.objective.scored)
        use_batch_statistics(self.objective.network, False)
        val = self.images.val
        density = density_of(self.objective.scored)
        val_accuracy = accuracy(predict(self.objective.logits, val, self.images.preprocess), val.labels)
        accepted = self.best is not None and self.best.accepts(density, val_accuracy)
        found = Round(index, loss, density, val_accuracy, accepted)
        self.rounds.append(found)
        if self.best is not None:
            self.best.note(found)
        self.seconds += share * (time.perf_counter() - self._round_started)
        return found

    @cached_property
    def _key(self) -> str:
        """Digest of everything the course of the search depends on, as it is before the first round.

        The head follows from the rest, but for its size.
        """
        network, head = self.objective.network, list(self.objective.head.parameters())
        own = {id(p) for p in head}
        frozen = {k: v for k, v in network.state_dict(keep_vars=True).items() if id(v) not in own}
        content = (fingerprint(frozen), [tuple(p.shape) for p in head], self.images.fingerprint())
        what = (type(self.objective).__name__, asdict(self.config), repr(self.runtime), self.images.seed)
        return digest_of(_STATE, *what, *content, *self.inputs)

    def save(self, path: Path) -> None:
        """Write the state after a round, atomically."""
        tensors = {f"now.{k}": v for k, v in learnt(self.objective).items()}
        tensors |= {f"dynamics.{k}": v for k, v in self.dynamics.tensors().items()}
        values: dict[str, Any] = {"rounds": [asdict(r) for r in self.rounds], "seconds": self.seconds}
        if self.best is not None:
            tensors |= {f"best.{k}": v for k, v in self.best.tensors().items()}
            values["best"] = None if self.best.found is None else self.best.found.round
        save_state(path, self._key, tensors, values)

    def resume(self, path: Path) -> None:
        """Continue from what `save` wrote, if it is there and of this search; before the first round."""
        state = load_state(path, self._key)
        if state is None:
            return
        self._restore(*state)
        logger.info("continuing after round %d", len(self.rounds) - 1)

    def _restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        put_back(self.objective, under("now.", tensors))
        self.dynamics.restore(under("dynamics.", tensors))
        self.rounds = [Round(**r) for r in values["rounds"]]
        self.seconds = values["seconds"]
        if self.best is not None:
            number = values["best"]
            self.best.restore(under("best.", tensors), None if number is None else self.rounds[number])
