"""Kernels and heads of the modules of a network, learned side by side by gradient descent."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR

from seam.checkpoint import load_state, save_state
from seam.composition.drawn import passes_alone, passes_together
from seam.composition.heads import Heads
from seam.configs.modules import GradSplitterConfig
from seam.data.images import LabelledImages
from seam.errors import DivergedError, SuspectResultWarning
from seam.masks.gate import Gated, KernelScores
from seam.measures.modules import within
from seam.runtime import Runtime
from seam.training.batches import num_batches


@dataclass(frozen=True)
class Cycle:
    """Where a search for modules stands."""

    number: int
    of: int
    kept: float
    """Fraction of the kernels, over all modules."""
    val_accuracy: float
    """Of all modules together, on what they are judged on."""


@dataclass
class Best:
    """The state with the fewest kernels among those within the tolerance; before there is one, the best on val."""

    state: dict[str, Tensor]
    kept: float
    accuracy: float
    within: bool

    def better(self, other: Best) -> bool:
        """Whether this one is to be preferred."""
        if self.within != other.within:
            return self.within
        return self.kept < other.kept if self.within else self.accuracy > other.accuracy


@dataclass
class Splitting:
    """A search, before it ran; all on one device."""

    gated: Gated
    scores: KernelScores
    heads: Heads
    train: LabelledImages
    val: LabelledImages
    preprocess: nn.Module
    config: GradSplitterConfig
    runtime: Runtime
    seed: int
    known: Tensor
    """Which images of `val` the source is right on, (images,)."""

    def run(self, path: Path | None, key: str, on_cycle: Callable[[Cycle], None] | None = None) -> Best:
        """All cycles; scores and heads are those of the best one afterwards.

        Args:
            path: of the state after each cycle; a search that was killed continues from it to the same
                result. None: nothing is kept.
            key: digest of everything the search depends on.
            on_cycle: called after every new cycle.

        Raises:
            DivergedError: the loss is not finite.

        Warns:
            SuspectResultWarning: no cycle was within the tolerance, or nothing was removed.
        """
        found = None if path is None else load_state(path, key)
        if found is None:
            whole = self._whole()
            self._learn(self.config.head_passes, 0, self.config.lr_head_first, with_scores=False, alpha=0.0)
            if self.config.first_scores == "ranked":
                self._rank()
            best, first, alpha = whole or self._look(), 1, self.config.alpha
        else:
            tensors, values = found
            self._put({k.removeprefix("now."): v for k, v in tensors.items() if k.startswith("now.")})
            state = {k.removeprefix("best."): v for k, v in tensors.items() if k.startswith("best.")}
            best, first, alpha = Best(state, *values["best"]), values["cycle"] + 1, values["alpha"]
        for number in range(first, self.config.cycles + 1):
            now = self._cycle(number, alpha)
            best = now if now.better(best) else best
            alpha = alpha * self.config.growth if now.within else alpha / self.config.growth
            if path is not None:
                tensors = {f"now.{k}": v for k, v in now.state.items()} | {
                    f"best.{k}": v for k, v in best.state.items()
                }
                values = {"cycle": number, "alpha": alpha, "best": [best.kept, best.accuracy, best.within]}
                save_state(path, key, tensors, values)
            if on_cycle is not None:
                on_cycle(Cycle(number, self.config.cycles, now.kept, now.accuracy))
        self._put(best.state)
        self._doubt(best)
        return best

    def _whole(self) -> Best | None:
        """Modules that keep everything and read the network's own outputs: the network, as linear heads begin."""
        is_network = self.heads.kind == "linear" and self.config.loss == "together"
        return Best(self._state(), 1.0, float(self.known.double().mean()), within=True) if is_network else None

    def _state(self) -> dict[str, Tensor]:
        parts = (*self.scores.state_dict().items(), *self.heads.state_dict().items())
        return {name: value.detach().clone() for name, value in parts}

    def _rank(self) -> None:
        """Scores from 0.5 to 1.5, in the order of what the loss feels of each kernel."""
        felt, images = torch.zeros_like(self.scores.scores), 0
        for given, labels in self._batches(-1):
            self.scores.scores.grad = None
            self._backward(given, labels)
            assert self.scores.scores.grad is not None
            felt += self.scores.scores.grad.square()
            images += self.config.batch_size
            if images >= self.config.rank_images:
                break
        self.heads.zero_grad()
        self.scores.put(0.5 + felt.argsort(1).argsort(1) / max(1, felt.shape[1] - 1))

    def _cycle(self, number: int, alpha: float) -> Best:
        """Kernels and heads, then heads alone, then a look."""
        own = self.config
        first = own.head_passes + (number - 1) * (own.mask_passes + own.settle_passes)
        self._learn(own.mask_passes, first, own.lr_head, with_scores=True, alpha=alpha)
        self._learn(own.settle_passes, first + own.mask_passes, own.lr_head, with_scores=False, alpha=0.0)
        return self._look()

    def _learn(self, count: int, first: int, rate: float, *, with_scores: bool, alpha: float) -> None:
        """So many passes; a fresh Adam. Heads alone need no gradient of the network, and may come to rest."""
        groups = [{"params": list(self.heads.parameters()), "lr": rate}]
        if with_scores:
            groups.append({"params": [self.scores.scores], "lr": self.config.lr_scores})
        self.scores.requires_grad_(with_scores)
        optimizer = torch.optim.Adam(groups)
        steps = count * num_batches(
            min(len(self.train), self.config.pass_images or len(self.train)), self.config.batch_size
        )
        falls = self.config.settling == "cosine" and not with_scores
        schedule = CosineAnnealingLR(optimizer, max(1, steps)) if falls else None
        for number in range(first, first + count):
            for images, labels in self._batches(number):
                optimizer.zero_grad(set_to_none=True)
                loss = self._backward(images, labels)
                if alpha:
                    (alpha * self.scores.gates().mean(1).sum()).backward()
                if not bool(loss.isfinite()):
                    raise DivergedError("modules: the loss is not finite", hint="learning_rate")
                optimizer.step()
                if schedule is not None:
                    schedule.step()
        self.scores.requires_grad_()

    def _batches(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        own = self.config
        given = (self.train, self.preprocess, own.batch_size, own.pass_images, self.seed, number)
        return passes_together(*given) if own.loss == "together" else passes_alone(*given, len(self.scores))

    def _backward(self, images: Tensor, labels: Tensor) -> Tensor:
        """The loss of a batch; gradients are added to scores and heads.

        With more modules than run at once, the scores of all come first, then gradients a part at a
        time.
        """
        parts = torch.arange(len(self.scores)).split(self.config.modules_at_once)
        if len(parts) == 1:
            loss = self._loss(self._scores_of(images, labels, parts[0]), labels)
            loss.backward()
            return loss.detach()
        with torch.no_grad():
            every = torch.cat([self._scores_of(images, labels, part) for part in parts])
        every.requires_grad_()
        loss = self._loss(every, labels)
        loss.backward()
        assert every.grad is not None
        for part in parts:
            self._scores_of(images, labels, part).backward(every.grad[part])
        return loss.detach()

    def _scores_of(self, images: Tensor, labels: Tensor, modules: Tensor) -> Tensor:
        """Of some modules, (modules, batch)."""
        if labels.ndim == 1:  # every module sees the same images
            given = images.repeat(len(modules), *[1] * (images.ndim - 1))
        else:
            given = images[modules].flatten(0, 1)
        with self.runtime.autocast():
            logits = self.gated(given, self.scores.gates()[modules])
        scores: Tensor = self.heads(logits.float(), modules)
        return scores

    def _loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Of scores (modules, batch): of all modules together, or the sum of theirs."""
        if labels.ndim == 1:
            return F.cross_entropy(scores.T, labels)
        return F.binary_cross_entropy_with_logits(scores, labels, reduction="none").mean(1).sum()

    @torch.no_grad()
    def _look(self) -> Best:
        """The modules as they are now, all together on val."""
        parts = torch.arange(len(self.scores)).split(self.config.modules_at_once)
        rows = []
        for images in self.val.images.split(self.config.batch_size):
            given = self.preprocess(images)
            same = torch.zeros(len(given))
            rows.append(torch.cat([self._scores_of(given, same, part) for part in parts]).T)
        scores = torch.cat(rows) + self.prior_shift()
        right = scores.argmax(1) == self.val.labels
        inside = within(self.known, right, self.config.tolerance, self.config.caution)
        return Best(self._state(), self.scores.kept(), float(right.double().mean()), inside)

    def prior_shift(self) -> Tensor:
        """What brings the scores of modules that learned on balanced images to the classes' frequencies."""
        if self.config.loss == "together":
            return torch.zeros(len(self.scores), device=self.train.labels.device)
        share = self.train.labels.bincount(minlength=len(self.scores)) / len(self.train)
        return (share / (1 - share)).log()

    def _put(self, state: dict[str, Tensor]) -> None:
        for part in (self.scores, self.heads):
            part.load_state_dict({name: state[name] for name in part.state_dict()})

    def _doubt(self, best: Best) -> None:
        if not best.within:
            text = (
                f"modules: all together are right on {100 * best.accuracy:.1f}% of val at best, the network on"
                f" {100 * float(self.known.double().mean()):.1f}%: no cycle was within the tolerance"
            )
            warnings.warn(SuspectResultWarning(text), stacklevel=2)
        elif best.kept == 1:
            warnings.warn(SuspectResultWarning("modules: no kernel was removed"), stacklevel=2)
