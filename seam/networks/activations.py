"""Which layers a network executes, and what they receive."""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd


def executed_layers(
    network: nn.Module, example_input: Float[Tensor, "batch channels height width"]
) -> tuple[list[str], object]:
    """Names of the convolutions and linear layers that one pass executes, in their order; and the network's output.

    Args:
        network: in eval mode; it is as before afterwards.
        example_input: normalised, on the network's device; all of it is run.
    """
    executed: list[str] = []
    layers = [(name, m) for name, m in network.named_modules() if isinstance(m, (_ConvNd, nn.Linear))]
    hooks = [layer.register_forward_pre_hook(partial(_note, executed, name)) for name, layer in layers]
    try:
        with torch.no_grad():
            return executed, network(example_input)
    finally:
        for hook in hooks:
            hook.remove()


def pooled(layer: nn.Module, received: Tensor) -> Float[Tensor, "batch features"]:
    """What a layer received, averaged over positions where it has any.

    They are behind the channels of a convolution, and before the features of a linear layer.
    """
    if received.ndim == 2:
        return received
    return received.flatten(2).mean(2) if isinstance(layer, _ConvNd) else received.flatten(1, -2).mean(1)


def _note(executed: list[str], name: str, module: nn.Module, inputs: object) -> None:
    executed.append(name)
