"""A random mask at SeaM's removal: as many of the convolutions' weights removed as SeaM removes, drawn by chance.

What it does: `removal` of the convolutions' weights (and biases, where they have any) are drawn at
random and set to zero; then the student is fine-tuned.

When to use it: the control that says what SeaM's search is worth. Whatever a student loses of its
source because weights were removed at all, and learnt anew, it loses here too; only what SeaM does
beyond it is due to the choice of the weights.

Differences from the paper: SeaM and ReMoS have no such control.

Published settings: none.

Claimed: nothing.
"""

from __future__ import annotations

from torch import nn

from seam.configs.methods import TransferConfig
from seam.masks.unsearched import random_mask
from seam.methods.protocol import SILENT, StartingPoint, Target, Watch, convolutions, fresh_student, remove
from seam.runtime import Runtime


def start(
    source: nn.Module, target: Target, config: TransferConfig, runtime: Runtime, seed: int, watch: Watch = SILENT
) -> StartingPoint:
    """Remove `config.removal` of the convolutions' weights, drawn by `seed`.

    Args:
        source: the trained network, in eval mode; it is not changed.
        target: the data set, without its test split.
        config: `removal` counts.
        runtime: not used.
        seed: of the fresh classifier and of the weights.
        watch: not used.

    Raises:
        SourceError: the source has no classifier to replace, or no convolution.
    """
    learner = fresh_student(source, target, seed)
    return remove(learner, random_mask(convolutions(learner), 1 - config.removal, seed))
