"""What makes a training doubtful, as its epochs tell."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence

from seam.errors import SuspectResultWarning
from seam.training.loop import Epoch, best_epoch

_FAR = 3.0
"""Times the cross-entropy of chance, log(classes), in the first epoch."""


def doubt_training(what: str, history: Sequence[Epoch], num_classes: int) -> None:
    """Warn of a training that kept the model as it was, whose loss rose, or that began far above chance.

    Args:
        what: the training, in the warnings.
        history: its epochs; the best on val was kept, the first of equals.
        num_classes: of its labels.

    Warns:
        SuspectResultWarning: one for each doubt.
    """
    for text in _doubts(history, num_classes):
        warnings.warn(SuspectResultWarning(f"{what}: {text}", hint="learning_rate"), stacklevel=3)


def _doubts(history: Sequence[Epoch], num_classes: int) -> Iterator[str]:
    before, *trained = history
    if not trained:
        return
    first, last = trained[0], trained[-1]
    best = best_epoch(history).val_accuracy
    if before.complete and best <= before.val_accuracy:
        yield (
            f"epoch 0 was kept: none of {len(trained)} epochs got above the {before.val_accuracy:.2%} on val that the"
            f" model began with, the best reached {max(e.val_accuracy for e in trained):.2%}"
        )
    if first.complete and first.loss is not None and last.loss is not None and last.loss > first.loss:
        yield f"the loss rose from {first.loss:.3g} in the first epoch to {last.loss:.3g} in the last"
    chance = math.log(num_classes)
    if first.cross_entropy is not None and first.cross_entropy > _FAR * chance:
        yield (
            f"the cross-entropy of the first epoch is {first.cross_entropy:.3g}, far above that of chance,"
            f" {chance:.3g} for {num_classes} classes"
        )
