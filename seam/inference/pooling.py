"""Adaptive pooling in operators that ONNX has, for the time of an export.

ONNX has pools with windows of one size. Adaptive pooling to a size that does not divide its input's
has windows of several: along each axis, output i is from floor(i n / k) to ceil((i + 1) n / k). Both
the mean and the largest value of such a window can be taken one axis after the other, of slices.
Nothing is multiplied, so that the weights and multiply-adds of the file stay the network's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class ExportablePooling(TorchFunctionMode):
    """Within the context, adaptive pools without an equivalent in ONNX compute the same in other operators."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call `func`, or what stands for it."""
        pool = _POOLS.get(func)
        given = dict(zip(("input", "output_size"), args, strict=False)) | (kwargs or {})
        if pool is not None and not given.get("return_indices") and len(args) < 3:
            x, axes, rank = given["input"], pool[1], given["input"].dim()
            sizes = [int(n) for n in x.shape[rank - axes :]]
            asked = given["output_size"]
            asked = list(asked) if isinstance(asked, tuple | list) else [asked] * axes
            wanted = [n if k is None else int(k) for n, k in zip(sizes, asked, strict=True)]
            if any(n % k for n, k in zip(sizes, wanted, strict=True)):
                for axis, (n, k) in enumerate(zip(sizes, wanted, strict=True), rank - axes):
                    x = pool[0](x, axis, _windows(n, k)) if n != k else x
                return x
        return func(*args, **(kwargs or {}))


def _windows(size: int, number: int) -> list[tuple[int, int]]:
    """First element of each window, and the one past its last."""
    return [(i * size // number, -(-(i + 1) * size // number)) for i in range(number)]


def _means(x: Tensor, axis: int, windows: list[tuple[int, int]]) -> Tensor:
    return torch.cat([x.narrow(axis, a, b - a).mean(axis, keepdim=True) for a, b in windows], axis)


def _largest(x: Tensor, axis: int, windows: list[tuple[int, int]]) -> Tensor:
    return torch.cat([x.narrow(axis, a, b - a).amax(axis, keepdim=True) for a, b in windows], axis)


_POOLS: dict[Any, tuple[Callable[[Tensor, int, list[tuple[int, int]]], Tensor], int]] = {
    torch.adaptive_avg_pool1d: (_means, 1),
    F.adaptive_avg_pool1d: (_means, 1),
    F.adaptive_avg_pool2d: (_means, 2),
    F.adaptive_avg_pool3d: (_means, 3),
    F.adaptive_max_pool1d: (_largest, 1),
    F.adaptive_max_pool2d: (_largest, 2),
    F.adaptive_max_pool3d: (_largest, 3),
}
"""Function -> how it takes its windows, and along how many of the last axes."""
