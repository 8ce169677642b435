"""Retraining from scratch: the source's architecture with fresh weights, trained on the target alone.

What it does: every layer is drawn anew, nothing of the source's training remains.

When to use it: the floor. Such a student inherits nothing, and still loses some of its right answers
under the attack on the source; only the rate in excess of this one's is inheritance. Its accuracy
is what the source's training is worth.

Differences from the paper: settings of its own, `retrain` (momentum 0.9, cosine), with which it
learns faster. Layers are drawn as torch draws them; convolutions from He's normal distribution (fan
out) with biases of 0, as most architectures do for themselves.

Published settings: SeaM's SGD 0.1, momentum 0.5, weight decay 1e-4, 300 epochs. ReMoS's 0.01,
momentum 0.9, weight decay 5e-3, 30,000 steps.

Claimed: such a student loses 3 to 13% of its right answers under the attack, and none of that is
inherited.
"""

from __future__ import annotations

import torch
from torch import nn

from seam.configs.methods import TransferConfig
from seam.errors import SourceError
from seam.methods.protocol import SILENT, StartingPoint, Target, Watch, fresh_student
from seam.runtime import Runtime


def start(
    source: nn.Module, target: Target, config: TransferConfig, runtime: Runtime, seed: int, watch: Watch = SILENT
) -> StartingPoint:
    """The source's architecture with fresh weights.

    Args:
        source: the trained network, in eval mode; it is not changed.
        target: the data set, without its test split.
        config: not used.
        runtime: not used.
        seed: of all weights.
        watch: not used.

    Raises:
        SourceError: the source has no classifier to replace, or a layer that cannot be drawn anew.
    """
    learner = fresh_student(source, target, seed)
    draw_anew(learner.network, seed)
    return StartingPoint(learner, None)


@torch.no_grad()
def draw_anew(network: nn.Module, seed: int) -> None:
    """Give every layer of `network`, on the CPU, fresh weights and statistics, in place.

    Torch's global state is left as it was.

    Raises:
        SourceError: a module holds parameters and has no `reset_parameters`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for name, module in network.named_modules():
            reset = getattr(module, "reset_parameters", None)
            if reset is not None:
                reset()
            elif own := [parameter for parameter, _ in module.named_parameters(recurse=False)]:
                what = f"'{name}' ({type(module).__name__}) with its own '{own[0]}'"
                raise SourceError(
                    f"{what}: expected a method reset_parameters() to draw it anew with, got none; leave out retrain,"
                    " or add that method."
                )
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
