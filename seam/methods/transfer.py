"""Transfer of a trained network to another data set.

A method's starting point, then one fine-tuning, the same for all methods.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module

from torch import nn

from seam.configs.methods import TransferConfig
from seam.methods.catalogue import STUDENTS, Method, find
from seam.methods.protocol import SILENT, MakeStudent, StartingPoint, Target, Watch
from seam.methods.student_training import TriedSetting, train_best
from seam.networks.student import Student
from seam.runtime import Runtime
from seam.training.loop import Epoch


@dataclass(frozen=True)
class Transferred:
    """A student and how it came about."""

    student: Student
    """Trained; on the runtime's device, in eval mode, frozen."""
    start: StartingPoint
    """Where training began; its `student` is the same object, trained by now."""
    tried: tuple[TriedSetting, ...]
    """The settings of the training, in their order; one where there was nothing to choose."""
    chosen: int
    """Which of them the student was trained with."""

    @property
    def epochs(self) -> tuple[Epoch, ...]:
        """Of the student's own training."""
        return self.tried[self.chosen].epochs

    @property
    def passes(self) -> int:
        """Passes over the target's training images that the student cost, all settings and the search together."""
        return len(self.start.rounds) + sum(max(0, len(setting.epochs) - 1) for setting in self.tried)


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
        config: the numbers, the same for every method that is compared; of its `settings` the student
            is trained with each, and the one with the best val accuracy is kept.
        runtime: device and precision.
        seed: of everything drawn: the fresh classifier, shuffling, augmentation, dropout, a random
            mask.
        watch: where to keep the state, and whom to tell of progress.

    Raises:
        ConfigError: no such method.
        SourceError: the source has no classifier to replace, or lacks what the method needs; or the
            loss is not finite.
        SearchError: the loss of a search is not finite.

    Warns:
        SuspectResultWarning: see `seam.methods.student_training.train_best`.
    """
    row = find(method, STUDENTS)
    begin = implementation(row)(source, target, config, runtime, seed, watch)
    trainings = config.trainings(row.training_of(config))
    student, tried, chosen = train_best(begin, target, trainings, runtime, seed, watch)
    return Transferred(student, replace(begin, student=student), tried, chosen)


def implementation(method: Method) -> MakeStudent:
    """The function `start` in a method's file, which is imported by the first who asks for it."""
    start: MakeStudent = import_module(f"seam.methods.{method.name}").start
    return start
