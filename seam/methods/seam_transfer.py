"""SeaM for a transfer: search the convolutions' weights that the target needs, remove the others, then fine-tune.

What it does, in three steps. Head fit: a fresh classifier is fitted to the frozen source's features. Search: a mask over the weights
(and biases, where there are any) of all convolutions but a replaced one, by gradient descent on a score a weight, while the
classifier learns along; at the end the highest scores are kept, as many as the removal leaves, exactly. Fine-tuning: the source's
weights again, the removed ones zero, and another fresh classifier; what the search taught its own is dropped.

When to use it: to take over what the target needs of a source whose defects you do not want. The more is removed, the fewer
defects come along, and the more accuracy it costs: search at several removals.

Differences from the paper: the removal is met exactly (published: wherever the first epoch above it ends); the classifier is fitted
exactly, with the source's BatchNorm statistics; `budget` searches along a falling budget (published: `drift`, see docs/method.md);
the images for choosing are val, not test. Where `norm_layers` learn, they go with the mask into the student.

Published settings: `drift`, Adam 0.05 for scores that start at 1, 0.001 for the classifier, alpha 0.5, about half of the weights
removed; then SGD 0.005 for the network and 0.05 for the classifier, no momentum, weight decay 1e-4, batch 64, up to 300 epochs;
removed weights regrow.

Source: B. Qi et al., "Reusing Deep Neural Network Models through Model Re-engineering", ICSE 2023, section 5.4, and its published code.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from seam.batches import accuracy, predict, training_batches
from seam.checkpoint import Pacer, digest_of, load_state, save_state
from seam.configs import SearchConfig
from seam.dynamics import Budget, Drift, Dynamics, fisher_saliency
from seam.errors import SearchError
from seam.masks import ScoredWeights
from seam.methods.protocol import SILENT, SearchRound, StartingPoint, Target, Watch, convolutions, fresh_student, keep_highest, remove
from seam.norms import norm_parameters, norm_tensors, put_norm_tensors, use_batch_statistics
from seam.runtime import Runtime
from seam.student import Student, fit_classifier
from seam.transfer_configs import TransferConfig

_SALIENCY_STEPS = 64
"""Batches whose gradients the first ranking of `budget` is made of."""


def start(source: nn.Module, target: Target, config: TransferConfig, runtime: Runtime, seed: int, watch: Watch = SILENT) -> StartingPoint:
    """Search and remove `config.removal` of the convolutions' weights; arguments as in `seam.methods.protocol.Method`.

    Raises:
        SourceError: the source has no classifier to replace, or no convolution, or its features are not finite.
        SearchError: the loss is not finite.
    """
    searched = fresh_student(source, target, seed).to(runtime.device)
    search = TransferSearch(searched, target.to(runtime.device), config, runtime, seed)
    search.run(watch)
    learner = fresh_student(source, target, seed)
    if config.search.norm_layers == "learn":
        put_norm_tensors(learner.network, norm_tensors(searched.network))
    return remove(learner, search.masks(), tuple(search.rounds))


class TransferSearch:
    """State of one search; `run` carries it from wherever it is to the end."""

    def __init__(self, learner: Student, target: Target, config: TransferConfig, runtime: Runtime, seed: int) -> None:
        """Fit the classifier and get ready.

        Args:
            learner: the source with a fresh classifier, on the runtime's device; it learns in place, all but its convolutions.
            target: on that device.
            config: `removal` and `search` count.
            runtime: device and precision.
            seed: of shuffling and augmentation.
        """
        self.learner, self.target, self.config, self.runtime, self.seed = learner, target, config, runtime, seed
        self.weights = ScoredWeights(convolutions(learner))
        fit_classifier(learner, target.preprocess, target.train)
        learner.requires_grad_(False)
        self._head = [p.requires_grad_() for p in learner.head.parameters()]
        self._learns = config.search.norm_layers == "learn"
        self._norms = [p.requires_grad_() for p in norm_parameters(learner.network)] if self._learns else []
        self.steps_per_round = sum(1 for _ in self._batches(0))
        self.dynamics = self._dynamics()
        self.rounds: list[SearchRound] = []

    def run(self, watch: Watch = SILENT) -> None:
        """Search to the end, from the state in `watch.folder` if there is one.

        Raises:
            SearchError: the loss is not finite.
        """
        checkpoint = None if watch.folder is None else watch.folder / "search.safetensors"
        key = self._key()
        self._resume(checkpoint, key)
        pacer = Pacer()
        while not self.done():
            self._round()
            if checkpoint is not None and pacer.due():
                self._save(checkpoint, key)
            if watch.on_round is not None:
                watch.on_round(self.rounds[-1])

    def done(self) -> bool:
        """Whether all rounds are done or, with `drift`, enough is removed."""
        config = self.config
        enough = config.search.method == "drift" and bool(self.rounds) and 1 - self.rounds[-1].density >= config.removal
        return enough or len(self.rounds) >= config.search.rounds

    def masks(self) -> dict[str, Tensor]:
        """The highest scores, exactly as many as the removal leaves."""
        return dict(keep_highest(self.weights.split(self.weights.scores.detach()), self.config.removal))

    def _dynamics(self) -> Dynamics:
        s = self.config.search
        numbers = {name: getattr(s, name) for name in ("method", "batch_size", "lr_scores", "lr_head", "lr_norms", "ramp", "alpha", "adam_eps", "augment")}
        config = SearchConfig(target=1 - self.config.removal, max_rounds=s.rounds, norm_layers=s.norm_layers, **numbers)
        if s.method == "drift":
            return Drift(self.weights, self._head, self._norms, config, None, self.steps_per_round)
        return Budget(self.weights, self._head, self._norms, config, None, self._saliency, self.steps_per_round * s.rounds)

    def _saliency(self) -> Tensor:
        return fisher_saliency(self._signals())

    def _signals(self) -> Iterator[Tensor]:
        """Gradients with respect to the mask with everything kept, a batch at a time; nothing learns."""
        epochs = -(-_SALIENCY_STEPS // self.steps_per_round)
        batches = (batch for epoch in range(epochs) for batch in self._batches(-1 - epoch))
        for (images, labels), _ in zip(batches, range(_SALIENCY_STEPS), strict=False):
            self._descend(images, labels)
            for parameter in (*self._head, *self._norms):
                parameter.grad = None
            yield self.weights.signal()

    def _batches(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        search = self.config.search
        return training_batches(self.target.train, self.target.preprocess, search.batch_size, search.augment, self.seed, number)

    def _round(self) -> None:
        """One epoch of steps and one evaluation."""
        index = len(self.rounds)
        step = index * self.steps_per_round
        total = torch.zeros((), device=self.runtime.device)
        if not self.rounds:
            self.dynamics.start()
        use_batch_statistics(self.learner.network, self._learns)
        for images, labels in self._batches(index):
            self.dynamics.before_step(step)
            total += self._descend(images, labels)
            self.dynamics.after_backward(step)
            step += 1
        cross_entropy = float(total) / self.steps_per_round
        if not math.isfinite(cross_entropy):
            raise SearchError(f"round {index}: the cross-entropy is {cross_entropy}, expected a finite number; lower search.lr_head or search.lr_scores.")
        self.dynamics.end_round(step)
        self.weights.refresh()
        use_batch_statistics(self.learner.network, False)
        right = accuracy(predict(self._masked, self.target.val, self.target.preprocess), self.target.val.labels)
        self.rounds.append(SearchRound(index, cross_entropy, self.weights.density(), right))

    def _descend(self, images: Tensor, labels: Tensor) -> Tensor:
        """Leave the gradients of effective weights, classifier and normalisation; returns the cross-entropy without waiting for it."""
        self.weights.refresh()
        with self.runtime.autocast():
            scores = self._masked(images)
        loss = F.cross_entropy(scores.float(), labels)
        loss.backward()
        return loss.detach()

    def _masked(self, images: Tensor) -> Tensor:
        """The student as it is now, its convolutions' weights masked."""
        scores: Tensor = functional_call(self.learner.network, self.weights.effective, (images,))
        return scores

    def _trained_along(self) -> dict[str, Tensor]:
        """What learns beside the scores, as it is: the classifier and the normalisation layers."""
        head = {f"head.{name}": t for name, t in self.learner.head.state_dict().items()}
        return head | {f"norms.{name}": t for name, t in norm_tensors(self.learner.network).items()}

    def _key(self) -> str:
        """Digest of everything the course of the search depends on."""
        data = [int(t.sum(dtype=torch.int64)) for part in (self.target.train, self.target.val) for t in (part.images, part.labels)]
        state = [float(t.double().abs().sum()) for t in self.learner.state_dict().values()]
        return digest_of(asdict(self.config.search), self.config.removal, repr(self.runtime), self.seed, data, state)

    def _save(self, path: Path, key: str) -> None:
        tensors = {"scores": self.weights.scores, **{f"dynamics.{k}": v for k, v in self.dynamics.tensors().items()}}
        save_state(path, key, {**tensors, **self._trained_along()}, {"rounds": [asdict(r) for r in self.rounds]})

    def _resume(self, path: Path | None, key: str) -> None:
        state = None if path is None else load_state(path, key)
        if state is None:
            return
        tensors, values = state
        with torch.no_grad():
            self.weights.scores.copy_(tensors["scores"])
        self.learner.head.load_state_dict(_under("head.", tensors))
        put_norm_tensors(self.learner.network, _under("norms.", tensors))
        self.dynamics.restore(_under("dynamics.", tensors))
        self.rounds = [SearchRound(**r) for r in values["rounds"]]


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
