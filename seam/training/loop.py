"""The one training loop of whole networks: for a source that does not exist yet, and for fine-tuning."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seam.checkpoint import Pacer, load_state, optimizer_tensors, restore_optimizer, save_state
from seam.data.images import LabelledImages, Redrawn
from seam.errors import DivergedError
from seam.networks.predict import accuracy, predict
from seam.runtime import Runtime
from seam.training.batches import training_batches
from seam.training.removal import Removal

Loss = Callable[[Tensor, Tensor], Tensor]
"""(normalised images, labels) -> the batch's mean loss, with its gradient; or a vector, the terms of
a sum, of which the first is the cross-entropy."""


@dataclass(frozen=True)
class Epoch:
    """One pass over the training images, measured at its end; epoch 0 is the model before any."""

    epoch: int
    loss: float | None
    """Mean loss of the epoch's batches; None for epoch 0."""
    val_accuracy: float
    cross_entropy: float | None = None
    """The part of the loss that the labels alone make; None for epoch 0."""
    val_cross_entropy: float | None = None
    """Says more than the accuracy of few images; None where it was not measured."""
    complete: bool = True
    """Whether all weights are gone that are to go; only such an epoch may be kept."""


def best_epoch(history: Sequence[Epoch]) -> Epoch:
    """The one with the best val accuracy, of those that may be kept; the first of equals."""
    return max((e for e in history if e.complete), key=lambda epoch: epoch.val_accuracy)


@dataclass(frozen=True)
class TrainingPlan:
    """The numbers of one training."""

    epochs: int
    batch_size: int
    augment: str
    seed: int
    cosine: bool
    """Warm up for a tenth of the steps, then follow a cosine to zero; otherwise constant rates."""
    keep_best: bool
    """Keep the epoch with the best val accuracy (the first of equals, epoch 0 included); otherwise
    the last."""
    label_smoothing: float = 0.0
    """Share of every label that is spread over all classes, in [0, 1)."""


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    preprocess: nn.Module,
    train_data: LabelledImages,
    val_data: LabelledImages,
    plan: TrainingPlan,
    runtime: Runtime,
    *,
    removal: Removal | None = None,
    checkpoint: Path | None = None,
    key: str = "",
    on_epoch: Callable[[Epoch], None] | None = None,
    negatives: Redrawn | None = None,
    loss_of: Loss | None = None,
) -> list[Epoch]:
    """Train `model` in place, on the device of `runtime`, and leave it there in eval mode.

    Dropout is a function of the plan's seed and the epoch; torch's global random state is left as it was.

    Args:
        model: maps normalised images to logits.
        optimizer: over its parameters; must be SGD or another whose state is tensors.
        preprocess: uint8 NHWC images to the model's input.
        train_data: to learn from.
        val_data: to measure on after every epoch.
        plan: the numbers.
        runtime: device and precision.
        removal: which weights are zero; with `plan.keep_best`, epochs before all are gone that are to
            go are not kept.
        checkpoint: file holding the state after an epoch, see `Pacer`, and after the last; a killed
            training continues from it to the same result, a finished one is not repeated.
        key: digest of everything the training depends on, see `seam.checkpoint`.
        on_epoch: called after every new epoch.
        negatives: `train_data` with negatives that are drawn anew for every epoch; None: every
            epoch has the same images.
        loss_of: what is minimised; None: cross-entropy with the plan's label smoothing.

    Raises:
        DivergedError: the loss is not finite.
    """
    model.to(runtime.device)
    preprocess.to(runtime.device)
    train_data, val_data = train_data.to(runtime.device), val_data.to(runtime.device)
    loss_of = loss_of or (
        lambda images, labels: F.cross_entropy(model(images).float(), labels, label_smoothing=plan.label_smoothing)
    )
    schedule = _Schedule(optimizer, plan, len(train_data))
    history, best = _resume(checkpoint, key, model, optimizer)
    if not history:
        first = Epoch(0, None, 0.0, complete=removal is None or not plan.epochs or removal.complete(0.0))
        history.append(_measured(first, model, val_data, preprocess))
        best = _snapshot(model)
    pacer = Pacer()
    while len(history) <= plan.epochs:
        number = len(history)
        model.train()
        drawn = train_data if negatives is None else negatives.epoch(plan.seed, number)
        batches = training_batches(drawn, preprocess, plan.batch_size, plan.augment, plan.seed, number)
        with torch.random.fork_rng(devices=[runtime.device] if runtime.device.type == "cuda" else []):
            torch.manual_seed(hash((plan.seed, number)) % 2**63)  # of dropout, also where a killed training goes on
            terms = _pass(batches, optimizer, loss_of, runtime, partial(schedule.set, number), removal)
        mean_loss = sum(terms)
        if not math.isfinite(mean_loss):
            raise DivergedError(
                f"training, epoch {number}: the loss is {mean_loss}, expected a finite number", hint="learning_rate"
            )
        complete = removal is None or removal.complete(number / plan.epochs)
        if removal is not None:
            removal.before_step(0, number / plan.epochs)
        now = _measured(Epoch(number, mean_loss, 0.0, terms[0], complete=complete), model, val_data, preprocess)
        history.append(now)
        if complete and best_epoch(history) is now:
            best = _snapshot(model)
        if checkpoint is not None and (pacer.due() or number == plan.epochs):
            _save(checkpoint, key, model, optimizer, history, best)
        if on_epoch is not None:
            on_epoch(now)
    if plan.keep_best:
        model.load_state_dict(best)
    model.eval()
    return history


def _measured(epoch: Epoch, model: nn.Module, val: LabelledImages, preprocess: nn.Module) -> Epoch:
    """The epoch with what the model, in eval mode from now on, is on val."""
    logits = predict(model.eval(), val, preprocess)
    cross_entropy = float(F.cross_entropy(logits, val.labels))
    return replace(epoch, val_accuracy=accuracy(logits, val.labels), val_cross_entropy=cross_entropy)


def _pass(
    batches: Iterable[tuple[Tensor, Tensor]],
    optimizer: torch.optim.Optimizer,
    loss_of: Loss,
    runtime: Runtime,
    set_rates: Callable[[int], float],
    removal: Removal | None,
) -> list[float]:
    """One pass over the batches, a step each; the terms of their losses, each the mean over the batches."""
    total, steps = torch.zeros(1, device=runtime.device), 0
    for images, labels in batches:
        done = set_rates(steps)
        if removal is not None:
            removal.before_step(steps, done)
        optimizer.zero_grad(set_to_none=True)
        with runtime.autocast():
            terms = torch.atleast_1d(loss_of(images, labels))
        terms.sum().backward()
        optimizer.step()
        if removal is not None:
            removal.after_step()
        total = total + terms.detach()
        steps += 1
    return [value / steps for value in total.tolist()]


class _Schedule:
    """The learning rates along a training: as they are, or a warm-up for a tenth of it and then half a cosine."""

    def __init__(self, optimizer: torch.optim.Optimizer, plan: TrainingPlan, num_images: int) -> None:
        self._optimizer, self._plan = optimizer, plan
        self._base_rates = [group["lr"] for group in optimizer.param_groups]
        self._steps = -(-num_images // plan.batch_size)

    def set(self, epoch: int, step: int) -> float:
        """Set the rates of a step of an epoch, counted from 1 and from 0; the share of the training before it."""
        share = ((epoch - 1) * self._steps + step) / (self._plan.epochs * self._steps)
        if not self._plan.cosine:
            return share
        factor = min(1.0, 0.1 + 9 * share) if share < 0.1 else 0.5 * (1 + math.cos(math.pi * (share - 0.1) / 0.9))
        for group, rate in zip(self._optimizer.param_groups, self._base_rates, strict=True):
            group["lr"] = rate * factor
        return share


def _snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in model.state_dict().items()}


def _save(
    path: Path,
    key: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    history: list[Epoch],
    best: Mapping[str, Tensor],
) -> None:
    tensors = {f"now.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in best.items()}
    tensors |= optimizer_tensors(optimizer, "optimizer")
    save_state(path, key, tensors, {"history": [asdict(e) for e in history]})


def _resume(
    path: Path | None, key: str, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[list[Epoch], dict[str, Any]]:
    """The history and the best weights so far; model and optimizer are put back where the checkpoint left them."""
    state = None if path is None else load_state(path, key)
    if state is None:
        return [], {}
    tensors, values = state
    model.load_state_dict({k.removeprefix("now."): v for k, v in tensors.items() if k.startswith("now.")})
    restore_optimizer(optimizer, tensors, "optimizer")
    best = {k.removeprefix("best."): v for k, v in tensors.items() if k.startswith("best.")}
    return [Epoch(**e) for e in values["history"]], best
