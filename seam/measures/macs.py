"""Weights and multiply-adds of a network, dense and without its zeros.

Source: SeaM table I and section 4.2 ("#weights", "FLOPs"); one multiply-add counts 1, as in the
paper and in fvcore.
"""

from __future__ import annotations

import copy
import logging
import math
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from seam.errors import SuspectResultWarning
from seam.masks.masks import maskable

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # fvcore decorates with torch.jit.script
    from fvcore.nn import FlopCountAnalysis
    from fvcore.nn.jit_handles import get_shape

_UNCOUNTED = ("attention", "aten::_transformer", "aten::lstm", "aten::gru")
"""Parts of the names of operators that multiply, and that fvcore does not count."""


@dataclass(frozen=True)
class Counts:
    """Sizes of one network; its target head is no part of it."""

    params_total: int
    """Weights and biases of convolutions and linear layers (and attention): what a mask may remove.
    BatchNorm is left out."""
    params_nonzero: int
    """Those that are not exactly zero."""
    density: float
    """params_nonzero / params_total, in [0, 1]."""
    macs_dense: int
    """Multiply-adds of one image, zeros included: convolution, linear, attention, BatchNorm and
    average pooling."""
    macs_nonzero: int
    """The same, where a convolution, linear or attention layer multiplies only by its non-zero
    weights. Biases cost nothing."""


def count(network: nn.Module, example_input: Float[Tensor, "batch channels height width"]) -> Counts:
    """Count a network's weights and the multiply-adds of one image.

    The network is not touched: a copy in eval mode is traced.

    Source: SeaM section 4.2, *same*: convolution = non-zero weights * output positions, linear =
    non-zero weights, the rest dense; a filter that is all zero is still an input of the next layer
    (nothing is removed downstream).

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


def weight_macs(network: nn.Module, example_input: Float[Tensor, "batch channels height width"]) -> dict[str, float]:
    """Parameter name -> multiply-adds of each of its weights for one image.

    Of a convolution: its output positions, times its uses.

    Args:
        network: any; it is not touched.
        example_input: normalised images; the first is used.
    """
    return {
        name: macs / size for name, macs, size, _ in _by_weight(copy.deepcopy(network).eval(), example_input[:1])[1]
    }


def _macs(network: nn.Module, image: Tensor) -> tuple[int, int]:
    """Multiply-adds of one image, and how many of them multiply by a zero weight."""
    total, weights = _by_weight(network, image)
    return total, sum(macs * (size - nonzero) // size for _, macs, size, nonzero in weights)


@torch.enable_grad()  # without gradients, attention runs as one operator that says nothing of its parts
def _by_weight(network: nn.Module, image: Tensor) -> tuple[int, list[tuple[str, int, int, int]]]:
    """Multiply-adds of one image; and of the weight of each convolution, linear and attention layer.

    Name, multiply-adds, size, non-zero weights.
    """
    analysis = FlopCountAnalysis(network, image).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    analysis.set_op_handle("aten::scaled_dot_product_attention", _attention_macs)
    tracing = logging.getLogger("fvcore.nn.jit_analysis")
    level = tracing.level
    tracing.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit.trace is deprecated, and remarks on Python branches
            by_module, by_operator = analysis.by_module(), analysis.by_module_and_operator()
            uncounted = sorted(op for op in analysis.unsupported_ops() if any(part in op for part in _UNCOUNTED))
    finally:
        tracing.setLevel(level)
    if uncounted:
        warnings.warn(
            f"multiply-adds leave out {', '.join(uncounted)}: macs_dense and macs_nonzero are too low.",
            SuspectResultWarning,
            stacklevel=3,
        )
    weights = [
        (f"{prefix}.{name}" if prefix else name, macs, weight.numel(), int(torch.count_nonzero(weight)))
        for prefix, module in network.named_modules()
        for name, weight, macs in _shares(module, int(by_module[prefix]), int(by_operator[prefix].get("linear", 0)))
    ]
    return int(by_module[""]), weights


def _shares(module: nn.Module, macs: int, linear_macs: int) -> list[tuple[str, Tensor, int]]:
    """The weights of one layer, each with its part of the layer's multiply-adds.

    Attention uses all of them once a token.
    """
    if isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
        parts = [("in_proj_weight", module.in_proj_weight), ("out_proj.weight", module.out_proj.weight)]
        size = sum(weight.numel() for _, weight in parts)
        return [(name, weight, linear_macs * weight.numel() // size) for name, weight in parts]
    if isinstance(module, (_ConvNd, nn.Linear)) and not isinstance(module, NonDynamicallyQuantizableLinear):
        return [("weight", module.weight, macs)]
    return []


def _attention_macs(inputs: list[Any], outputs: list[Any]) -> int:
    """Multiply-adds of softmax(q k') v: tokens of the query times tokens of the key, once a feature, twice."""
    query, key = get_shape(inputs[0]), get_shape(inputs[1])
    macs: int = 2 * math.prod(query) * key[-2]
    return macs
