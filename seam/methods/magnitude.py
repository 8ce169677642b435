"""Magnitude-pruned fine-tuning: the smallest weights of the convolutions removed, whatever the target.

What it does: the convolutions' weights (and biases, where they have any) with the smallest |w|,
over all layers together, are set to zero; then the student is fine-tuned.

When to use it: a control that costs nothing. It removes as many weights as SeaM and keeps what the
source relied on most.

Differences from the paper: ReMoS's released code of this baseline does not run; this is the rule it
names. Its removal is SeaM's, `removal`, and not a value of its own.

Published settings: ReMoS's 0.8 of the weights removed, 10,000 steps, 0.005 for the network.

Claimed: in ReMoS's tables its students inherit nearly as much as fine-tuned ones.
"""

from __future__ import annotations

from torch import nn

from seam.configs.methods import TransferConfig
from seam.masks.unsearched import magnitude_mask
from seam.methods.protocol import SILENT, StartingPoint, Target, Watch, convolutions, fresh_student, remove
from seam.runtime import Runtime


def start(
    source: nn.Module, target: Target, config: TransferConfig, runtime: Runtime, seed: int, watch: Watch = SILENT
) -> StartingPoint:
    """Remove `config.removal` of the convolutions' weights, the smallest.

    Args:
        source: the trained network, in eval mode; it is not changed.
        target: the data set, without its test split.
        config: `removal` counts.
        runtime: not used.
        seed: of the fresh classifier.
        watch: not used.

    Raises:
        SourceError: the source has no classifier to replace, or no convolution.
    """
    learner = fresh_student(source, target, seed)
    return remove(learner, magnitude_mask(convolutions(learner), 1 - config.removal))
