"""A network of which several copies run at once, under `torch.func.vmap`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch._C._functorch import _add_batch_dim, _unwrap_batched, maybe_current_level
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

_KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@contextmanager
def ready_for_stacks(network: nn.Module) -> Iterator[None]:
    """Within the context several copies of the network take fewer kernels under `torch.func.vmap`.

    In BatchNorm the copies' channels lie side by side, as those of one layer. So it takes one
    kernel, forward and backward, in the precision that it has alone. torch's own batching takes
    fifteen; and on CUDA, its backward pass fails for bfloat16 beside float32 statistics. (A vmap
    rule of `torch.autograd.Function` would need nothing private of torch's, and takes longer than
    it saves.) And activations are not made in place, which takes five kernels of a backward pass
    where what they change is a view, as of a stack it is.
    """
    norms = [m for m in network.modules() if type(m) in _KINDS and vars(m)["momentum"] is not None]
    in_place = [m for m in network.modules() if vars(m).get("inplace") is True]
    for layer in norms:
        vars(layer)["forward"] = partial(_of_stack, layer)
    for layer in in_place:
        vars(layer)["inplace"] = False
    try:
        yield
    finally:
        for layer in norms:
            del vars(layer)["forward"]
        for layer in in_place:
            vars(layer)["inplace"] = True


def _of_stack(layer: nn.Module, x: Tensor) -> Tensor:
    """BatchNorm's forward pass; outside of vmap, as ever."""
    assert isinstance(layer, _BatchNorm)
    level = maybe_current_level()
    images, at = (x, None) if level is None else _unwrap_batched(x, level)
    if level is None or at is None:
        return type(layer).forward(layer, x)
    images = images.movedim(at, 1)  # (batch, copies, channels, ...)
    copies = images.shape[1]

    def side_by_side(own: Tensor | None) -> Tensor | None:
        if own is None:
            return None
        tensor, stacked_at = _unwrap_batched(own, level)
        return tensor.repeat(copies) if stacked_at is None else tensor.movedim(stacked_at, 0).view(-1)

    if layer.training and layer.num_batches_tracked is not None:
        layer.num_batches_tracked.add_(1)
    mean, variance, scales, shifts = map(
        side_by_side, (layer.running_mean, layer.running_var, layer.weight, layer.bias)
    )
    by_batch = layer.training or mean is None
    assert layer.momentum is not None
    normalised = F.batch_norm(images.flatten(1, 2), mean, variance, scales, shifts, by_batch, layer.momentum, layer.eps)
    # not a view: what changes it in place, as a sum does, would take seven kernels more of a backward pass, not five
    apart: Tensor = torch.ops.aten._unsafe_view(normalised, images.shape)
    return _add_batch_dim(apart, 1, level)
