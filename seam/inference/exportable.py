"""Operators that ONNX has, and that engines read as they are meant, for the time of an export.

ONNX has pools with windows of one size. Adaptive pooling to a size that does not divide its input's
has windows of several: along each axis, output i is from floor(i n / k) to ceil((i + 1) n / k). Both
the mean and the largest value of such a window can be taken one axis after the other, of slices.
Nothing is multiplied, so that the weights and multiply-adds of the file stay the network's.

ONNX Runtime takes a pad in front of a maximum for the maximum's own padding, which is never the
largest, whatever the pad's value is; an operation between the two keeps it from that. Behind
`unflatten` the exporter takes the size of the batch for that of the example; a reshape is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_Pool: TypeAlias = tuple[Callable[[Tensor, int, list[tuple[int, int]]], Tensor], int]


class Exportable(TorchFunctionMode):
    """Within the context, pools and views compute the same in operators that are exported as they are meant."""

    def __init__(self) -> None:
        super().__init__()
        self._padded: dict[int, Tensor] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call `func`, or what stands for it."""
        given = kwargs or {}
        if func in _LARGEST and args and id(args[0]) in self._padded:
            args = (args[0].clamp(min=torch.finfo(args[0].dtype).min), *args[1:])
        if func in _PADS:
            padded = func(*args, **given)
            self._padded[id(padded)] = padded
            return padded
        if func in _UNFLATTEN:
            return _unflattened(*args, **given)
        pooled = _adaptive(_POOLS[func], *args, **given) if func in _POOLS else None
        return func(*args, **given) if pooled is None else pooled


def _unflattened(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    before, after = input.shape[: dim % input.dim()], input.shape[dim % input.dim() + 1 :]
    return input.reshape(*before, *sizes, *after)


def _adaptive(pool: _Pool, input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor | None:
    """The same of slices; None: it need not be."""
    take, axes = pool
    rank, x = input.dim(), input
    sizes = [int(n) for n in x.shape[rank - axes :]]
    asked = list(output_size) if isinstance(output_size, tuple | list) else [output_size] * axes
    wanted = [n if k is None else int(k) for n, k in zip(sizes, asked, strict=True)]
    if return_indices or not any(n % k for n, k in zip(sizes, wanted, strict=True)):
        return None
    for axis, (n, k) in enumerate(zip(sizes, wanted, strict=True), rank - axes):
        x = take(x, axis, _windows(n, k)) if n != k else x
    return x


def _windows(size: int, number: int) -> list[tuple[int, int]]:
    """First element of each window, and the one past its last."""
    return [(i * size // number, -(-(i + 1) * size // number)) for i in range(number)]


def _means(x: Tensor, axis: int, windows: list[tuple[int, int]]) -> Tensor:
    return torch.cat([x.narrow(axis, a, b - a).mean(axis, keepdim=True) for a, b in windows], axis)


def _largest(x: Tensor, axis: int, windows: list[tuple[int, int]]) -> Tensor:
    return torch.cat([x.narrow(axis, a, b - a).amax(axis, keepdim=True) for a, b in windows], axis)


_UNFLATTEN = (torch.unflatten, Tensor.unflatten)
_PADS = (F.pad, torch.constant_pad_nd)
_LARGEST = (*(F.max_pool1d, F.max_pool2d, F.max_pool3d, torch.max_pool1d, torch.max_pool2d, torch.max_pool3d),)
_POOLS: dict[Any, _Pool] = {
    torch.adaptive_avg_pool1d: (_means, 1),
    F.adaptive_avg_pool1d: (_means, 1),
    F.adaptive_avg_pool2d: (_means, 2),
    F.adaptive_avg_pool3d: (_means, 3),
    F.adaptive_max_pool1d: (_largest, 1),
    F.adaptive_max_pool2d: (_largest, 2),
    F.adaptive_max_pool3d: (_largest, 3),
}
"""Function -> how it takes its windows, and along how many of the last axes."""
