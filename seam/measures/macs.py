"""Weights and multiply-adds of a network, dense and without its zeros.

Source: SeaM table I and section 4.2 ("#weights", "FLOPs"); one multiply-add counts 1, as in the
paper and in fvcore.
"""

from __future__ import annotations

import copy
import logging
import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seam.errors import SuspectResultWarning
from seam.masks.masks import counted, maskable
from seam.networks.products import macs_by_parameter

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # fvcore decorates with torch.jit.script
    from fvcore.nn import FlopCountAnalysis
    from fvcore.nn.jit_handles import get_shape

_UNCOUNTED = ("attention", "aten::_transformer", "bilinear", "tensordot", "addbmm", "cdist")
"""Parts of the names of operators that multiply, and that are not counted."""
_RECURRENT = ("aten::lstm", "aten::gru", "aten::rnn_tanh", "aten::rnn_relu")


@dataclass(frozen=True)
class Counts:
    """Sizes of one network; its target head is no part of it."""

    params_total: int
    """Every weight and bias, one that several layers share once; those of BatchNorm and other
    normalisation layers are left out."""
    params_maskable: int
    """Those that a mask may remove: of convolutions, linear layers, attention and recurrent
    layers."""
    params_nonzero: int
    """Those that are not exactly zero."""
    density: float
    """params_nonzero / params_total, in [0, 1]."""
    macs_dense: int
    """Multiply-adds of one image, zeros included: convolution, linear, attention, recurrent layers,
    BatchNorm and average pooling; of a layer that is called several times, each time."""
    macs_nonzero: int
    """The same, where the weights that can be masked multiply only where they are not zero. Biases
    cost nothing."""


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
    total, nonzero = _sizes(counted(network))
    dense, by_name = _macs(_copied(network), example_input[:1])
    saved = 0
    for name, parameter in maskable(network).items():
        size, left = _sizes([parameter])
        saved += by_name.get(name, 0) * (size - left) // size
    return Counts(total, _sizes(maskable(network).values())[0], nonzero, nonzero / total, dense, dense - saved)


def weight_macs(network: nn.Module, example_input: Float[Tensor, "batch channels height width"]) -> dict[str, float]:
    """Parameter name -> multiply-adds of each of its weights for one image.

    Of a convolution: its output positions, times its uses.

    Args:
        network: any; it is not touched.
        example_input: normalised images; the first is used.
    """
    weights, by_name = maskable(network), macs_by_parameter(_copied(network), example_input[:1])
    return {name: macs / weights[name].numel() for name, macs in by_name.items() if name in weights}


def _sizes(parameters: Iterable[Tensor]) -> tuple[int, int]:
    """Weights, and those that are not zero."""
    sizes = [(p.numel(), int(torch.count_nonzero(p))) for p in parameters]
    return sum(size for size, _ in sizes), sum(nonzero for _, nonzero in sizes)


def _copied(network: nn.Module) -> nn.Module:
    """A copy in eval mode whose parameters all require gradients.

    Without, attention runs as one operator that says nothing of its parts.
    """
    return copy.deepcopy(network).eval().requires_grad_(True)


@torch.enable_grad()
def _macs(network: nn.Module, image: Tensor) -> tuple[int, dict[str, int]]:
    """Multiply-adds of one image, and those with each parameter."""
    analysis = FlopCountAnalysis(network, image).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    analysis.set_op_handle("aten::scaled_dot_product_attention", _attention_macs)
    analysis.set_op_handle("aten::baddbmm", _batched_macs)
    for operator in _RECURRENT:
        analysis.set_op_handle(operator, _recurrent_macs)
    tracing = logging.getLogger("fvcore.nn.jit_analysis")
    level = tracing.level
    tracing.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit.trace is deprecated, and remarks on Python branches
            total = int(analysis.total())
            uncounted = sorted(op for op in analysis.unsupported_ops() if any(part in op for part in _UNCOUNTED))
    finally:
        tracing.setLevel(level)
    if uncounted:
        warnings.warn(
            f"multiply-adds leave out {', '.join(uncounted)}: macs_dense and macs_nonzero are too low.",
            SuspectResultWarning,
            stacklevel=3,
        )
    return total, macs_by_parameter(network, image)


def _attention_macs(inputs: list[Any], outputs: list[Any]) -> int:
    """Multiply-adds of softmax(q k') v: tokens of the query times tokens of the key, once a feature, twice."""
    query, key = get_shape(inputs[0]), get_shape(inputs[1])
    macs: int = 2 * math.prod(query) * key[-2]
    return macs


def _batched_macs(inputs: list[Any], outputs: list[Any]) -> int:
    """Multiply-adds of a batch of matrix products that is added to something."""
    first, second = get_shape(inputs[1]), get_shape(inputs[2])
    macs: int = math.prod(first) * second[-1]
    return macs


def _recurrent_macs(inputs: list[Any], outputs: list[Any]) -> int:
    """Multiply-adds of recurrent layers: every weight once a step of every sequence."""
    lists = [i.node() for i in inputs[1:] if i.node().kind() == "prim::ListConstruct"]  # the state, then the weights
    sizes = [get_shape(weight) for weight in lists[-1].inputs()]
    steps = math.prod(get_shape(inputs[0])[:-1])
    macs: int = steps * sum(math.prod(size) for size in sizes if len(size) > 1)
    return macs
