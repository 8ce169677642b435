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

from torch import Tensor

from seam.checkpoint import Pacer, digest_of, fingerprint, load_state, save_state
from seam.configs.search import SearchConfig
from seam.errors import SearchError
from seam.masks.scores import density_of
from seam.networks.predict import accuracy, predict
from seam.runtime import Runtime
from seam.search.choose import BestRound
from seam.search.descent import Descent
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
    _round_started: float = 0.0

    @cached_property
    def descent(self) -> Descent:
        """What moves."""
        return Descent(self.objective, self.dynamics, self.images, self.config.batch_statistics)

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

    def begin_round(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Start an epoch of steps and return its batches, each of which is then a `step`."""
        self._round_started = time.perf_counter()
        return self.descent.begin(len(self.rounds))

    def step(self, images: Tensor, labels: Tensor) -> None:
        """One step on a batch: the mask, the gradients, the move."""
        self.descent.step(images, labels)

    def end_round(self) -> Round:
        """Evaluate the candidate that the epoch made."""
        loss = self.finite(float(self.descent.loss))
        self.descent.settle()
        val = self.images.val
        density = density_of(self.objective.scored)
        val_accuracy = accuracy(predict(self.objective.logits, val, self.images.preprocess), val.labels)
        return self.note(loss, density, val_accuracy, time.perf_counter() - self._round_started)

    def finite(self, loss: float) -> float:
        """The cross-entropy of the round that ends.

        Raises:
            SearchError: it is not finite.
        """
        if not math.isfinite(loss):
            raise SearchError(
                f"round {len(self.rounds)}: the cross-entropy is {loss}, expected a finite number", hint="search_rate"
            )
        return loss

    def note(self, loss: float, density: float, val_accuracy: float, seconds: float) -> Round:
        """Take down a round that ended and what it found, after `seconds` of computing."""
        accepted = self.best is not None and self.best.accepts(density, val_accuracy)
        found = Round(len(self.rounds), loss, density, val_accuracy, accepted)
        self.rounds.append(found)
        if self.best is not None:
            self.best.note(found)
        self.seconds += seconds
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
