"""Transfer of a trained network to another data set.

A method's starting point, then one fine-tuning, the same for all methods.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

import torch
from torch import nn

from seam.checkpoint import digest_of, fingerprint
from seam.configs.methods import TransferConfig
from seam.configs.training import StudentTraining
from seam.errors import SuspectResultWarning
from seam.masks.masks import Masks, apply_masks
from seam.methods.catalogue import STUDENTS, Method, find
from seam.methods.protocol import SILENT, MakeStudent, StartingPoint, Target, Watch
from seam.networks.student import Student, fit_classifier
from seam.runtime import Runtime
from seam.training.batches import whole_epochs
from seam.training.loop import Epoch, TrainingPlan, train
from seam.training.spatial_dropout import spatial_dropout


@dataclass(frozen=True)
class Transferred:
    """A student and how it came about."""

    student: Student
    """Trained; on the runtime's device, in eval mode, frozen."""
    start: StartingPoint
    """Where training began; its `student` is the same object, trained by now."""
    epochs: tuple[Epoch, ...]


def transfer(
    method: str,
    source: nn.Module,
    target: Target,
    config: TransferConfig,
    runtime: Runtime,
    seed: int,
    watch: Watch = SILENT,
) -> Transferred:
    """Transfer a network to a data set by one of `seam.methods.catalogue.STUDENTS`.

    Args:
        method: its name.
        source: the trained network, in eval mode; it is not changed.
        target: the data set, without its test split.
        config: the numbers, the same for every method that is compared.
        runtime: device and precision.
        seed: of everything drawn: the fresh classifier, shuffling, augmentation, dropout, a random
            mask.
        watch: where to keep the state, and whom to tell of progress.

    Raises:
        ConfigError: no such method.
        SourceError: the source has no classifier to replace, or lacks what the method needs; or the
            loss is not finite.
        SearchError: the loss of a search is not finite.
    """
    row = find(method, STUDENTS)
    begin = implementation(row)(source, target, config, runtime, seed, watch)
    epochs = train_student(begin.student, begin.masks, target, row.training_of(config), runtime, seed, watch)
    return Transferred(begin.student, begin, tuple(epochs))


def implementation(method: Method) -> MakeStudent:
    """The function `start` in a method's file, which is imported by the first who asks for it."""
    start: MakeStudent = import_module(f"seam.methods.{method.name}").start
    return start


def train_student(
    learner: Student,
    masks: Masks | None,
    target: Target,
    config: StudentTraining,
    runtime: Runtime,
    seed: int,
    watch: Watch = SILENT,
) -> list[Epoch]:
    """Train all of a student by SGD, in place, and leave it on the runtime's device, in eval mode and frozen.

    Source: SeaM section 5.4 and ReMoS section 5, with the settings in presets/. *Differs*: seeded; the
    epoch is chosen on val.

    Args:
        learner: its removed weights are zero.
        masks: the weights that are removed, by name in `learner.network`; None: none is.
        target: to learn from, and to choose the epoch on.
        config: the numbers.
        runtime: device and precision.
        seed: of shuffling, augmentation and dropout; torch's global state is left as it was.
        watch: where to keep the state, and whom to tell of progress.

    Raises:
        SourceError: the loss is not finite, or spatial dropout is asked for and the network has no
            stages.

    Warns:
        SuspectResultWarning: the student does no better on val than always naming the most frequent
            class.
    """
    here = target.to(runtime.device)
    learner.to(runtime.device).eval().requires_grad_(True)
    checkpoint: Path | None = None if watch.folder is None else watch.folder / "training.safetensors"
    key = "" if checkpoint is None else _key(learner, masks, here, config, runtime, seed)
    if config.head_start == "fitted":
        fit_classifier(learner, here.preprocess, here.train)
    held = (
        {name: mask.to(runtime.device) for name, mask in masks.items()}
        if masks is not None and config.removed_weights == "zero"
        else None
    )
    groups = [
        {"params": learner.body, "lr": config.lr},
        {"params": list(learner.head.parameters()), "lr": config.lr_head},
    ]
    optimizer = torch.optim.SGD(groups, momentum=config.momentum, weight_decay=config.weight_decay)
    plan = TrainingPlan(
        whole_epochs(config, len(target.train)),
        config.batch_size,
        config.augment,
        seed,
        cosine=config.schedule == "cosine",
        keep_best=config.keep == "best",
        label_smoothing=config.label_smoothing,
    )
    with spatial_dropout(learner.network, here.example(runtime.device), config.spatial_dropout):
        epochs = train(
            learner,
            optimizer,
            here.preprocess,
            here.train,
            here.val,
            plan,
            runtime,
            after_step=None if held is None else lambda: apply_masks(learner.network, held),
            checkpoint=checkpoint,
            key=key,
            on_epoch=watch.on_epoch,
        )
    learner.requires_grad_(False)
    _warn_of_chance(max(e.val_accuracy for e in epochs) if plan.keep_best else epochs[-1].val_accuracy, here)
    return epochs


def _warn_of_chance(val_accuracy: float, target: Target) -> None:
    """Warn of a student that learnt nothing: no rate of defects means anything for it."""
    chance = float(target.val.labels.bincount().max()) / len(target.val)
    if val_accuracy <= chance:
        text = (
            f"transfer: the student is at chance: {val_accuracy:.2%} on val, where the most frequent class alone gives"
            f" {chance:.2%}"
        )
        warnings.warn(SuspectResultWarning(text, hint="learning_rate"), stacklevel=3)


def _key(
    learner: Student, masks: Masks | None, target: Target, config: StudentTraining, runtime: Runtime, seed: int
) -> str:
    """Digest of everything the training depends on; the fitted classifier follows from it."""
    images = (target.train.images, target.train.labels, target.val.images, target.val.labels)
    content = fingerprint(*images, learner.state_dict(), masks or {})
    return digest_of(asdict(config), repr(runtime), seed, content)
