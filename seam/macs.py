"""Weights and multiply-adds of a network, dense and without its zeros.

Source: SeaM table I and section 4.2 ("#weights", "FLOPs"); one multiply-add counts 1, as in the paper and in fvcore.
"""

from __future__ import annotations

import copy
import logging
import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from seam.errors import SuspectResultWarning
from seam.masks import maskable

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # fvcore decorates with torch.jit.script
    from fvcore.nn import FlopCountAnalysis

_UNCOUNTED = ("attention", "aten::_transformer", "aten::lstm", "aten::gru")
"""Parts of the names of operators that multiply, and that fvcore does not count."""


@dataclass(frozen=True)
class Counts:
    """Sizes of one network; its target head is no part of it."""

    params_total: int
    """Weights and biases of convolutions and linear layers (and attention): what a mask may remove. BatchNorm is left out."""
    params_nonzero: int
    """Those that are not exactly zero."""
    density: float
    """params_nonzero / params_total, in [0, 1]."""
    macs_dense: int
    """Multiply-adds of one image, zeros included: convolution, linear, BatchNorm and average pooling."""
    macs_nonzero: int
    """The same, where a convolution or linear layer multiplies only by its non-zero weights. Biases cost nothing."""


def count(network: nn.Module, example_input: Float[Tensor, "batch channels height width"]) -> Counts:
    """Count a network's weights and the multiply-adds of one image.

    The network is not touched: a copy in eval mode is traced.

    Source: SeaM section 4.2, *same*: convolution = non-zero weights * output positions, linear = non-zero weights, the rest
    dense; a filter that is all zero is still an input of the next layer (nothing is removed downstream).

    Args:
        network: masked weights are exact zeros in it. Pass the network without its target head.
        example_input: normalised images; the first is used, its size decides the multiply-adds.

    Raises:
        SearchError: the network has no convolution, linear or attention layer.

    Warns:
        SuspectResultWarning: it multiplies in operators that are not counted.
    """
    parameters = maskable(network).values()
    total = sum(p.numel() for p in parameters)
    nonzero = sum(int(torch.count_nonzero(p)) for p in parameters)
    dense, saved = _macs(copy.deepcopy(network).eval(), example_input[:1])
    return Counts(total, nonzero, nonzero / total, dense, dense - saved)


@torch.no_grad()
def weight_macs(network: nn.Module, example_input: Float[Tensor, "batch channels height width"]) -> dict[str, float]:
    """Parameter name -> multiply-adds of each of its weights for one image (a convolution's output positions, times its uses).

    Args:
        network: any; it is not touched.
        example_input: normalised images; the first is used.
    """
    return {f"{name}.weight" if name else "weight": macs / size for name, macs, size, _ in _by_layer(copy.deepcopy(network).eval(), example_input[:1])[1]}


@torch.no_grad()
def _macs(network: nn.Module, image: Tensor) -> tuple[int, int]:
    """Multiply-adds of one image, and how many of them multiply by a zero weight."""
    total, layers = _by_layer(network, image)
    return total, sum(macs * (size - nonzero) // size for _, macs, size, nonzero in layers)


def _by_layer(network: nn.Module, image: Tensor) -> tuple[int, list[tuple[str, int, int, int]]]:
    """Multiply-adds of one image; and of each convolution and linear layer: name, multiply-adds, weights, non-zero weights."""
    analysis = FlopCountAnalysis(network, image).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    tracing = logging.getLogger("fvcore.nn.jit_analysis")
    level = tracing.level
    tracing.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit.trace is deprecated, and remarks on Python branches
            by_module = analysis.by_module()
            uncounted = sorted(op for op in analysis.unsupported_ops() if any(part in op for part in _UNCOUNTED))
    finally:
        tracing.setLevel(level)
    if uncounted:
        warnings.warn(f"multiply-adds leave out {', '.join(uncounted)}: macs_dense and macs_nonzero are too low.", SuspectResultWarning, stacklevel=3)
    layers = [
        (name, int(by_module[name]), module.weight.numel(), int(torch.count_nonzero(module.weight)))
        for name, module in network.named_modules()
        if isinstance(module, (_ConvNd, nn.Linear))
    ]
    return int(by_module[""]), layers
