"""Norms by statistics over all channels: those of some channels, where the others are zero.

LayerNorm, RMSNorm and GroupNorm of one group. A channel that is zero takes part in the statistics:
those of K channels of D, with share = K / D, are

    mean = share * mean_K        variance = share * variance_K + share * (1 - share) * mean_K ** 2

so that a norm of the K channels, which knows the share, gives what the norm of all gives.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, fx, nn

from seam.compaction.channels import Channels, Tie, one_to_one
from seam.compaction.layers import parameter
from seam.compaction.trace import Traced

Values = Float[Tensor, "batch ..."]


def is_across_channels(traced: Traced, node: fx.Node) -> bool:
    """Whether `node` is a norm by statistics over all channels of its input."""
    kind, norm = traced.kind(node), traced.called(node)
    of_one_group = kind == "groupnorm" and getattr(norm, "num_groups", 0) == 1
    return norm is not None and not traced.is_shared(node) and (kind in ("layernorm", "rmsnorm") or of_one_group)


def normalised_across(
    traced: Traced, node: fx.Node, source: fx.Node, known: Channels
) -> tuple[int, Tensor, list[Tie]] | None:
    """Each channel by the statistics of all: constant where its scale is zero; None: over other axes than one."""
    norm, count = traced.called(node), len(known.constant)
    axis = 1 if isinstance(norm, nn.GroupNorm) else len(traced.shapes[source]) - 1
    if not is_across_channels(traced, node) or known.axis != axis:
        return None
    if not isinstance(norm, nn.GroupNorm) and tuple(norm.normalized_shape) != (count,):
        return None
    constant = torch.full_like(known.constant, torch.nan)
    if norm.weight is not None:
        bias = getattr(norm, "bias", None)
        constant = (torch.zeros_like(constant) if bias is None else bias).masked_fill(norm.weight != 0, torch.nan)
    return known.axis, constant, [one_to_one(source, count)]


def of_some(full: Any, kept: Bool[Tensor, " channels"]) -> nn.Module:
    """A norm of the kept channels that gives what `full` does where the others are zero."""
    kinds = {nn.LayerNorm: LayerNormOfSome, nn.RMSNorm: RMSNormOfSome, nn.GroupNorm: GroupNormOfSome}
    made: type = next(made for kind, made in kinds.items() if isinstance(full, kind))
    norm: nn.Module = made(full, kept)
    for name, value in full.named_parameters(recurse=False):
        setattr(norm, name, parameter(value[kept]))
    return norm


class LayerNormOfSome(nn.LayerNorm):
    """LayerNorm over channels of which some are here, and the others zero."""

    def __init__(self, full: nn.LayerNorm, kept: Bool[Tensor, " channels"]) -> None:
        super().__init__(int(kept.sum()), full.eps, elementwise_affine=False)
        self.share = float(kept.float().mean())

    def forward(self, input: Values) -> Values:
        """What the norm of all gives for these channels, which lie along the last axis."""
        return _affine(self, _normalised(input, (-1,), self.share, self.eps), [-1])


class GroupNormOfSome(nn.GroupNorm):
    """GroupNorm of one group, of whose channels some are here, and the others zero."""

    def __init__(self, full: nn.GroupNorm, kept: Bool[Tensor, " channels"]) -> None:
        super().__init__(1, int(kept.sum()), full.eps, affine=False)
        self.share = float(kept.float().mean())

    def forward(self, input: Values) -> Values:
        """What the norm of all gives for these channels, which lie along the second axis."""
        axes = tuple(range(1, input.dim()))
        return _affine(self, _normalised(input, axes, self.share, self.eps), [-1, *[1] * (input.dim() - 2)])


class RMSNormOfSome(nn.RMSNorm):
    """RMSNorm over channels of which some are here, and the others zero."""

    def __init__(self, full: nn.RMSNorm, kept: Bool[Tensor, " channels"]) -> None:
        super().__init__(int(kept.sum()), full.eps, elementwise_affine=False)
        self.share = float(kept.float().mean())

    def forward(self, x: Values) -> Values:
        """What the norm of all gives for these channels, which lie along the last axis."""
        eps = torch.finfo(x.dtype).eps if self.eps is None else self.eps
        return _affine(self, x * (self.share * x.square().mean(-1, keepdim=True) + eps).rsqrt(), [-1])


def _normalised(values: Values, axes: tuple[int, ...], share: float, eps: float) -> Values:
    mean = values.mean(axes, keepdim=True)
    centred = values - mean
    variance = share * centred.square().mean(axes, keepdim=True) + share * (1 - share) * mean.square()
    normalised: Tensor = (centred + (1 - share) * mean) * (variance + eps).rsqrt()
    return normalised


def _affine(norm: Any, values: Values, shape: list[int]) -> Values:
    scaled = values if norm.weight is None else values * norm.weight.view(shape)
    return scaled if getattr(norm, "bias", None) is None else scaled + norm.bias.view(shape)
