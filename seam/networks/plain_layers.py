"""One module that computes the weight of a layer, as torch's own layer with that weight."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from seam.networks.products import Product, Run, record

_TOLERANCE = 1e-5
_TRIED = 2
_CONVOLUTIONS = ((nn.Conv1d, nn.ConvTranspose1d), (nn.Conv2d, nn.ConvTranspose2d), (nn.Conv3d, nn.ConvTranspose3d))


def as_plain_layer(module: nn.Module, called_with: tuple[Any, ...]) -> nn.Module | None:
    """A convolution or linear layer, maybe behind zero padding, that computes what `module` does.

    Whether they compute the same is tried on random inputs, with other parameters than the module's
    as well: with its own, zeros could hide a difference.

    Args:
        module: in eval mode; it is left as it was.
        called_with: its inputs, whose shapes count.

    Returns:
        None: it does something else.
    """
    inputs = [_like(value, seed) for seed in range(_TRIED) for value in called_with]
    with perturbed(module):
        runs = [record(module, x) for x in inputs]
        ways = [way for way in _WAYS if _fits(way, module, runs, inputs)]
    if not ways:
        return None
    runs = [record(module, x) for x in inputs]
    return ways[0](module, runs[0]) if _fits(ways[0], module, runs, inputs) else None


@contextmanager
def perturbed(module: nn.Module, zeroed: bool = False) -> Iterator[None]:
    """Within the context every parameter is another: with noise added, or (`zeroed`) half of its values zero."""
    generator = torch.Generator().manual_seed(1)
    before: dict[Tensor, Tensor] = {p: p.detach().clone() for p in module.parameters()}
    buffers: dict[Tensor, Tensor] = {b: b.detach().clone() for b in module.buffers()}
    with torch.no_grad():
        for parameter in before:
            if parameter.is_floating_point():
                noise = torch.rand(parameter.shape, generator=generator).to(parameter)
                parameter.copy_(parameter * (noise < 0.5) if zeroed else parameter + 0.2 * (noise - 0.5))
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in (before | buffers).items():
                tensor.copy_(value)


def _like(value: Tensor, seed: int) -> Tensor:
    return torch.randn(value.shape, generator=torch.Generator().manual_seed(seed)).to(value)


@torch.no_grad()
def _fits(way: Any, module: nn.Module, runs: list[Run], inputs: list[Tensor]) -> bool:
    """Whether the layer of the first run computes the module's outputs of all."""
    layer = way(module, runs[0])
    if layer is None:
        return False
    for x, run in zip(inputs, runs, strict=True):
        try:
            got = layer(x)
        except (RuntimeError, ValueError):
            return False
        if not isinstance(run.output, Tensor) or got.shape != run.output.shape:
            return False
        if not (got - run.output).abs().max() <= _TOLERANCE * run.output.abs().max():
            return False
    return True


def _computed(run: Run) -> Product | None:
    found = [p for p in run.products if p.weight is not None]
    return found[0] if len(found) == 1 else None


def _as_called(module: nn.Module, run: Run) -> nn.Module | None:
    """The layer as the operator was called."""
    product = _computed(run)
    if product is None:
        return None
    return _convolution(product) if product.operator == "convolution" else _linear(product)


def _as_named(module: nn.Module, run: Run) -> nn.Module | None:
    """The layer with the module's own way of padding."""
    layer = _as_called(module, run)
    if not isinstance(module, _ConvNd) or not isinstance(layer, _ConvNd):
        return None
    kind: Any = type(layer)
    made = kind(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        module.stride,
        module.padding,
        dilation=module.dilation,
        groups=module.groups,
        bias=layer.bias is not None,
        padding_mode=module.padding_mode,
    )
    return _holding(made, layer.weight, layer.bias)


def _behind_zeros(module: nn.Module, run: Run) -> nn.Module | None:
    """The layer behind the zero padding that the module does."""
    layer = _as_called(module, run)
    if layer is None or len(run.pads) != 1 or (run.pads[0][2:] and run.pads[0][2] != 0):
        return None
    widths = list(run.pads[0][1])
    ends = [tuple(widths[i : i + 2]) for i in range(0, len(widths), 2)][::-1]
    if isinstance(layer, _ConvNd) and all(a == b >= 0 for a, b in ends) and not any(layer.padding):
        layer.padding = tuple(a for a, _ in ends)
        layer._reversed_padding_repeated_twice = widths
        return layer
    return nn.Sequential(nn.ConstantPad2d(tuple(widths), 0.0), layer) if len(ends) == 2 else None


_WAYS = (_as_called, _as_named, _behind_zeros)


def _convolution(product: Product) -> nn.Module:
    _, weight, bias, stride, padding, dilation, transposed, output_padding, groups = product.args
    kind = _CONVOLUTIONS[weight.ndim - 3][bool(transposed)]
    inside, outside = weight.shape[1] * groups, weight.shape[0]
    sizes: dict[str, Any] = {
        "stride": tuple(stride),
        "padding": tuple(padding),
        "dilation": tuple(dilation),
        "groups": groups,
    }
    if transposed:
        sizes["output_padding"] = tuple(output_padding)
        inside, outside = outside, inside
    layer = kind(inside, outside, tuple(weight.shape[2:]), bias=bias is not None, **sizes)
    return _holding(layer, weight, bias)


def _linear(product: Product) -> nn.Module | None:
    """The layer of a matrix product whose right factor is the weight, maybe with a bias added."""
    if product.operator not in ("mm", "addmm") or product.weight is not product.args[-1]:
        return None
    weight = product.weight.t()
    bias = product.args[0] if product.operator == "addmm" else None
    if bias is not None and bias.ndim != 1:
        return None
    return _holding(nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None), weight, bias)


def _holding(layer: nn.Module, weight: Tensor, bias: Tensor | None) -> nn.Module:
    """The layer, in eval mode, with these parameters."""
    layer.weight = nn.Parameter(weight.detach().clone(memory_format=torch.contiguous_format))
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone())
    return layer.eval()
