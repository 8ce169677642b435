"""The training of a student on its target, the same for every method, and the choice among several settings of it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch

from seam.checkpoint import digest_of, fingerprint
from seam.configs.training import StudentTraining
from seam.errors import DivergedError, SuspectResultWarning
from seam.masks.masks import Masks
from seam.methods.protocol import SILENT, StartingPoint, Target, Watch
from seam.networks.student import Student, fit_classifier
from seam.runtime import Runtime
from seam.training.batches import whole_epochs
from seam.training.doubts import doubt_training
from seam.training.loop import Epoch, TrainingPlan, best_epoch, train
from seam.training.removal import Held
from seam.training.spatial_dropout import spatial_dropout

_FILE = "training.safetensors"


@dataclass(frozen=True)
class TriedSetting:
    """One setting of the training, and how the student trained with it did."""

    training: StudentTraining
    epochs: tuple[Epoch, ...]
    """Empty: the loss was not finite."""

    @property
    def kept(self) -> Epoch | None:
        """The epoch whose weights the student has: the best on val (the first of equals), or the last."""
        if not self.epochs:
            return None
        return best_epoch(self.epochs) if self.training.keep == "best" else self.epochs[-1]


def train_best(
    begin: StartingPoint,
    target: Target,
    trainings: Sequence[StudentTraining],
    runtime: Runtime,
    seed: int,
    watch: Watch = SILENT,
) -> tuple[Student, tuple[TriedSetting, ...], int]:
    """Train a student with each setting from one starting point, and keep the one with the best val accuracy.

    One whose loss is not finite loses. Each is a whole training: what the choice costs is all of them.

    Args:
        begin: where each begins; with several settings its student is not changed.
        target: to learn from, and to choose on.
        trainings: the settings, at least one.
        runtime: device and precision.
        seed: of shuffling, augmentation and dropout, the same for each.
        watch: where to keep the state, a file a setting, and whom to tell of progress.

    Returns:
        The student, the settings in their order with how each did, and the number of the one chosen
        (the first of equals).

    Raises:
        DivergedError: the loss is finite with none of the settings.
        SourceError: see `train_student`.

    Warns:
        SuspectResultWarning: the student chosen is at chance on val, or see
            `seam.training.doubts.doubt_training`.
    """
    tried: list[TriedSetting] = []
    best: tuple[float, int, Student] | None = None
    several = len(trainings) > 1
    for number, training in enumerate(trainings):
        if watch.on_setting is not None:
            watch.on_setting(number)
        learner = copy.deepcopy(begin.student) if several else begin.student
        file = f"setting-{number}-{_FILE}" if several else _FILE
        try:
            epochs = _train(learner, begin.masks, target, training, runtime, seed, watch, file)
        except DivergedError:
            if not several:
                raise
            epochs = []
        tried.append(TriedSetting(training, tuple(epochs)))
        kept = tried[-1].kept
        if kept is not None and (best is None or kept.val_accuracy > best[0]):
            best = (kept.val_accuracy, number, learner)
    if best is None:
        text = f"transfer: expected a finite loss with one of {len(trainings)} settings, got none"
        raise DivergedError(text, hint="learning_rate")
    _, chosen, student = best
    _doubt(tried[chosen], target)
    return student, tuple(tried), chosen


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
        DivergedError: the loss is not finite.
        SourceError: spatial dropout is asked for and the network has no stages.

    Warns:
        SuspectResultWarning: the student does no better on val than always naming the most frequent
            class.
    """
    epochs = _train(learner, masks, target, config, runtime, seed, watch, _FILE)
    _warn_of_chance(TriedSetting(config, tuple(epochs)), target)
    return epochs


def _train(
    learner: Student,
    masks: Masks | None,
    target: Target,
    config: StudentTraining,
    runtime: Runtime,
    seed: int,
    watch: Watch,
    file: str,
) -> list[Epoch]:
    """See `train_student`; the state is kept in `file` in the folder of `watch`."""
    here = target.to(runtime.device)
    learner.to(runtime.device).eval().requires_grad_(True)
    checkpoint = None if watch.folder is None else watch.folder / file
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
    with spatial_dropout(learner.network, here.example(runtime.device), config.spatial_dropout):
        epochs = train(
            learner,
            optimizer,
            here.preprocess,
            here.train,
            here.val,
            _plan(config, len(target.train), seed),
            runtime,
            removal=None if held is None else Held(learner.network, held),
            checkpoint=checkpoint,
            key=key,
            on_epoch=watch.on_epoch,
        )
    learner.requires_grad_(False)
    return epochs


def _plan(config: StudentTraining, num_train: int, seed: int) -> TrainingPlan:
    return TrainingPlan(
        whole_epochs(config, num_train),
        config.batch_size,
        config.augment,
        seed,
        cosine=config.schedule == "cosine",
        keep_best=config.keep == "best",
        label_smoothing=config.label_smoothing,
    )


def _doubt(chosen: TriedSetting, target: Target) -> None:
    """Warn of a student that learnt nothing, or whose training did not make it better."""
    _warn_of_chance(chosen, target)
    if chosen.training.keep == "best":
        doubt_training("transfer", chosen.epochs, target.num_classes)


def _warn_of_chance(trained: TriedSetting, target: Target) -> None:
    """Warn of a student that learnt nothing: no rate of defects means anything for it."""
    chance = float(target.val.labels.bincount().max()) / len(target.val)
    if trained.kept is not None and trained.kept.val_accuracy <= chance:
        text = (
            f"transfer: the student is at chance: {trained.kept.val_accuracy:.2%} on val, where the most frequent class"
            f" alone gives {chance:.2%}"
        )
        warnings.warn(SuspectResultWarning(text, hint="learning_rate"), stacklevel=3)


def _key(
    learner: Student, masks: Masks | None, target: Target, config: StudentTraining, runtime: Runtime, seed: int
) -> str:
    """Digest of everything the training depends on; the fitted classifier follows from it."""
    images = (target.train.images, target.train.labels, target.val.images, target.val.labels)
    content = fingerprint(*images, learner.state_dict(), masks or {})
    return digest_of(asdict(config), repr(runtime), seed, content)
