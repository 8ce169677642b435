"""Standard fine-tuning: all weights of the source, a fresh classifier, nothing removed.

What it does: the student starts as the source with a new classifier, and all of it is trained on
the target.

When to use it: the yardstick of accuracy. It inherits the most.

Differences from the paper: none but the protocol's (the epoch is chosen on val, not on test).

Published settings: SeaM section 5.4, for ResNet18 and ResNet50: SGD, 0.005 for the network and
0.05 for the classifier, no momentum, weight decay 1e-4, batch 64, 300 epochs.

Claimed: by SeaM, means over its five data sets of accuracy / share of the right answers lost under
the attack on the source: ResNet18 80 / 79%, ResNet50 85 / 66%; ResNet18 with dropout loses 44%.
"""

from __future__ import annotations

from torch import nn

from seam.configs.methods import TransferConfig
from seam.methods.protocol import SILENT, StartingPoint, Target, Watch, fresh_student
from seam.runtime import Runtime


def start(
    source: nn.Module, target: Target, config: TransferConfig, runtime: Runtime, seed: int, watch: Watch = SILENT
) -> StartingPoint:
    """The source with a fresh classifier.

    Args:
        source: the trained network, in eval mode; it is not changed.
        target: the data set, without its test split.
        config: not used.
        runtime: not used.
        seed: of the fresh classifier.
        watch: not used.

    Raises:
        SourceError: the source has no classifier to replace.
    """
    return StartingPoint(fresh_student(source, target, seed), None)
