"""Weights and multiply-adds of a network, dense and without its zeros.

Source: SeaM table I and section 4.2 ("#weights", "FLOPs"); one multiply-add counts 1, as in the
paper and in fvcore.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seam.compaction.norms import GroupNormOfSome, LayerNormOfSome
from seam.errors import SuspectResultWarning
from seam.masks.masks import counted, maskable
from seam.networks.products import Product, macs_by_parameter, record

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # fvcore decorates with torch.jit.script
    from fvcore.nn import FlopCountAnalysis

_PRODUCTS = ("_convolution", "addmm", "bmm", "einsum", "linear", "matmul", "mm")
"""Operators of fvcore whose multiply-adds are taken from a run of the network instead."""


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
    """The same, where weights multiply only where they are not zero. Biases cost nothing."""


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
    total, nonzero = sizes(counted(network))
    done = work(network, example_input)
    if done.uncounted:
        warnings.warn(
            f"multiply-adds leave out {', '.join(f'aten::{name}' for name in done.uncounted)}: macs_dense and"
            " macs_nonzero are too low.",
            SuspectResultWarning,
            stacklevel=2,
        )
    dense = done.others + sum(p.macs for p in done.products)
    saved = sum(p.macs - p.macs_nonzero for p in done.products)
    return Counts(total, sizes(maskable(network).values())[0], nonzero, nonzero / total, dense, dense - saved)


@dataclass(frozen=True)
class Work:
    """What a network does to one image."""

    products: tuple[Product, ...]
    """Convolutions and matrix products."""
    others: int
    """Multiply-adds of normalisation layers, average pooling and resizing."""
    uncounted: tuple[str, ...]
    """Operators that multiply and are not counted, by torch's names."""


@torch.enable_grad()
def work(network: nn.Module, example_input: Float[Tensor, "batch channels height width"]) -> Work:
    """Run and trace a copy of a network that is in eval mode.

    Its parameters all require gradients: without, attention runs as one operator that says nothing
    of its parts.

    Args:
        network: it is not touched.
        example_input: normalised images, of which the first is used.
    """
    copied, image = _traceable(network), example_input[:1]
    run = record(copied, image)
    analysis = FlopCountAnalysis(copied, image).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    for operator in _PRODUCTS:
        analysis.set_op_handle(f"aten::{operator}", lambda inputs, outputs: 0)
    tracing = logging.getLogger("fvcore.nn.jit_analysis")
    level = tracing.level
    tracing.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit.trace is deprecated, and remarks on Python branches
            return Work(run.products, int(analysis.total()) + _of_written_norms(copied, image), run.uncounted)
    finally:
        tracing.setLevel(level)


def _of_written_norms(network: nn.Module, image: Tensor) -> int:
    """Multiply-adds of norms that compaction wrote out, as fvcore counts those of torch: 4 a number, 5 with a scale."""
    counted: list[int] = []
    written = [m for m in network.modules() if isinstance(m, LayerNormOfSome | GroupNormOfSome)]
    hooks = [
        m.register_forward_hook(lambda m, _, out: counted.append(out.numel() * (4 + (m.weight is not None))))
        for m in written
    ]
    if written:
        network(image)
    for hook in hooks:
        hook.remove()
    return sum(counted)


def weight_macs(network: nn.Module, example_input: Float[Tensor, "batch channels height width"]) -> dict[str, float]:
    """Parameter name -> multiply-adds of each of its weights for one image.

    Of a convolution: its output positions, times its uses.

    Args:
        network: any; it is not touched.
        example_input: normalised images; the first is used.
    """
    weights, by_name = maskable(network), macs_by_parameter(_traceable(network), example_input[:1])
    return {name: macs / weights[name].numel() for name, macs in by_name.items() if name in weights}


def sizes(parameters: Iterable[Tensor]) -> tuple[int, int]:
    """Weights, and those that are not zero."""
    found = [(p.numel(), int(torch.count_nonzero(p))) for p in parameters]
    return sum(size for size, _ in found), sum(nonzero for _, nonzero in found)


def _traceable(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).eval().requires_grad_(True)
