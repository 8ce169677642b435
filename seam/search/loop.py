"""What every mask search repeats: rounds of steps, an evaluation after each, and checkpoints."""

from __future__ import annotations

import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from seam.checkpoint import Pacer, digest_of, fingerprint, load_state, save_state
from seam.configs.search import SearchConfig
from seam.data.images import LabelledImages
from seam.errors import SearchError
from seam.masks.weights import ScoredWeights
from seam.networks.norms import norm_parameters, norm_tensors, put_norm_tensors, use_batch_statistics
from seam.networks.predict import accuracy, predict
from seam.runtime import Runtime
from seam.search.dynamics import Budget, Drift, Dynamics, fisher_saliency
from seam.search.result import Round
from seam.training.batches import training_batches

logger = logging.getLogger(__name__)

_SALIENCY_STEPS = 64
"""Batches whose gradients the first ranking is made of."""
_STATE = 3
"""Version of what a checkpoint holds; one of another version is of no use."""


class SearchLoop(ABC):
    """State of a mask search. A subclass makes `weights`, calls `_get_ready`, and says what a step descends on."""

    weights: ScoredWeights
    head: nn.Module
    """What learns along, beside the normalisation layers."""
    learning_norms: list[Tensor]
    steps_per_round: int
    dynamics: Dynamics

    def __init__(
        self,
        network: nn.Module,
        preprocess: nn.Module,
        train: LabelledImages,
        val: LabelledImages,
        config: SearchConfig,
        runtime: Runtime,
        seed: int,
    ) -> None:
        """Take what is searched and on what.

        Args:
            network: eval mode, on the runtime's device, no parameter requires a gradient; its
                normalisation layers may learn in place.
            preprocess: uint8 NHWC images to its input.
            train: images to learn from.
            val: images to evaluate rounds on.
            config: the search's numbers.
            runtime: device and precision.
            seed: of shuffling and augmentation.
        """
        self.network, self.config, self.runtime, self.seed = network, config, runtime, seed
        self.preprocess = preprocess.to(runtime.device)
        self.train, self.val = train.to(runtime.device), val.to(runtime.device)
        self.rounds: list[Round] = []
        self.seconds = 0.0
        self._step, self._round_started, self._total = 0, 0.0, torch.zeros(())

    def _get_ready(self, head: nn.Module, costs: Tensor | None = None) -> None:
        """Take the head as it is now, and the cost of every weight (None: all the same)."""
        self.head = head
        learns = self.config.norm_layers == "learn"
        self.learning_norms = [p.requires_grad_() for p in norm_parameters(self.network)] if learns else []
        self.steps_per_round = sum(1 for _ in self._batches(0, "none"))
        parameters = list(head.parameters())
        if self.config.method == "drift":
            self.dynamics = Drift(
                self.weights, parameters, self.learning_norms, self.config, costs, self.steps_per_round
            )
        else:
            steps = self.steps_per_round * self.config.max_rounds
            self.dynamics = Budget(
                self.weights, parameters, self.learning_norms, self.config, costs, self._saliency, steps
            )

    def search_rounds(self, checkpoint: Path | None = None, on_round: Callable[[Round], None] | None = None) -> None:
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
        while not self.converged():
            found = self.next_round()
            if checkpoint is not None and pacer.due():
                self.save(checkpoint)
            if on_round is not None:
                on_round(found)

    def next_round(self) -> Round:
        """One epoch of steps and its evaluation."""
        for images, labels in self.begin_round():
            self.before_step()
            self.after_backward(self.descend(images, labels))
        return self.end_round()

    @abstractmethod
    def converged(self) -> bool:
        """Whether there is no round to come."""

    @abstractmethod
    def descend(self, images: Tensor, labels: Tensor) -> Tensor:
        """Leave the gradients of effective weights and of what learns along.

        Returns the cross-entropy without waiting for it.
        """

    @abstractmethod
    def masked(self, images: Tensor) -> Tensor:
        """Scores of the target's classes by the model as it is now."""

    @abstractmethod
    def _depends_on(self) -> tuple[object, ...]:
        """What else the course of the search depends on, beside config, runtime, seed, images and weights."""

    @cached_property
    def _key(self) -> str:
        """Digest of everything the course of the search depends on, as it is before the first round."""
        parts = (self.train.images, self.train.labels, self.val.images, self.val.labels, self.weights.weights)
        content = fingerprint(*parts)
        return digest_of(_STATE, asdict(self.config), repr(self.runtime), self.seed, content, *self._depends_on())

    def _accepts(self, density: float, val_accuracy: float) -> bool:
        """Whether a round made a better candidate than all before it."""
        return False

    def begin_round(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Start an epoch of steps and return its batches.

        Each is then a `before_step`, a backward pass and an `after_backward`.
        """
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
            raise SearchError(
                f"round {index}: the cross-entropy is {cross_entropy}, expected a finite number; lower search.lr_head"
                " or search.lr_scores."
            )
        self.dynamics.end_round(self._step)
        self.weights.refresh()
        use_batch_statistics(self.network, False)
        density, val_accuracy = (
            self.weights.density(),
            accuracy(predict(self.masked, self.val, self.preprocess), self.val.labels),
        )
        found = Round(index, cross_entropy, density, val_accuracy, self._accepts(density, val_accuracy))
        self.rounds.append(found)
        self.seconds += share * (time.perf_counter() - self._round_started)
        return found

    def source_logits(self, images: Tensor) -> Tensor:
        """What the network gives with the effective weights in place of its own."""
        logits: Tensor = functional_call(self.network, self.weights.effective, (images,))
        return logits

    def _saliency(self) -> Tensor:
        return fisher_saliency(self._signals())

    def _signals(self) -> Iterator[Tensor]:
        """Gradients with respect to the mask with everything kept, a batch at a time; nothing learns."""
        epochs = -(-_SALIENCY_STEPS // self.steps_per_round)
        batches = (batch for epoch in range(epochs) for batch in self._batches(-1 - epoch, self.config.augment))
        for (images, labels), _ in zip(batches, range(_SALIENCY_STEPS), strict=False):
            self.weights.refresh()
            self.descend(images, labels)
            for parameter in (*self.head.parameters(), *self.learning_norms):
                parameter.grad = None
            yield self.weights.signal()

    def _batches(self, number: int, augment: str) -> Iterator[tuple[Tensor, Tensor]]:
        return training_batches(
            self._drawn(number), self.preprocess, self.config.batch_size, augment, self.seed, number
        )

    def _drawn(self, number: int) -> LabelledImages:
        """The training images of a round: a function of (seed, round) alone."""
        return self.train

    def _trained_along(self) -> dict[str, Tensor]:
        """What learns beside the scores: copies of head and normalisation layers."""
        head = {f"head.{k}": v.clone() for k, v in self.head.state_dict().items()}
        return head | {f"norms.{k}": v for k, v in norm_tensors(self.network).items()}

    def _put_back(self, tensors: Mapping[str, Tensor]) -> None:
        """Undo what changed since `_trained_along`."""
        self.head.load_state_dict(under("head.", tensors))
        put_norm_tensors(self.network, under("norms.", tensors))

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that changes from round to round: tensors, and values for JSON."""
        tensors = {"scores": self.weights.scores, **{f"dynamics.{k}": v for k, v in self.dynamics.tensors().items()}}
        tensors |= {f"now.{k}": v for k, v in self._trained_along().items()}
        return tensors, {"rounds": [asdict(r) for r in self.rounds], "seconds": self.seconds}

    def _restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Put back what `_state` gave."""
        with torch.no_grad():
            self.weights.scores.copy_(tensors["scores"])
        self._put_back(under("now.", tensors))
        self.dynamics.restore(under("dynamics.", tensors))
        self.rounds = [Round(**r) for r in values["rounds"]]
        self.seconds = values["seconds"]

    def save(self, path: Path) -> None:
        """Write the state after a round, atomically."""
        save_state(path, self._key, *self._state())

    def resume(self, path: Path) -> None:
        """Continue from what `save` wrote, if it is there and of this search."""
        state = load_state(path, self._key)
        if state is None:
            return
        self._restore(*state)
        logger.info("continuing after round %d", len(self.rounds) - 1)


def under(prefix: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The entries whose name starts with `prefix`, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
