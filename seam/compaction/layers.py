"""Convolutions and linear layers made smaller, each by itself."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from seam.compaction.trace import LAYERS, Traced

_Transposed: TypeAlias = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
Layer: TypeAlias = nn.Conv1d | nn.Conv2d | nn.Conv3d | _Transposed | nn.Linear


def parameter(value: Tensor) -> nn.Parameter:
    """A parameter that does not train."""
    return nn.Parameter(value, requires_grad=False)


def groups_of(layer: Layer) -> int:
    """Groups of a convolution; a linear layer is one."""
    return 1 if isinstance(layer, nn.Linear) else layer.groups


def is_transposed(layer: nn.Module) -> bool:
    """Whether a layer is a transposed convolution, in whose weight the inputs come first."""
    return bool(getattr(layer, "transposed", False))


def by_output(layer: Layer) -> Float[Tensor, "out inputs *kernel"]:
    """The weights, the outputs first; of a transposed convolution a copy."""
    if not is_transposed(layer):
        return layer.weight
    by_group = layer.weight.unflatten(0, (groups_of(layer), -1)).transpose(1, 2)
    weight: Tensor = by_group.flatten(0, 1).contiguous()
    return weight


def put_weight(layer: Layer, weight: Float[Tensor, "out inputs *kernel"]) -> None:
    """Give a layer weights whose outputs come first."""
    if is_transposed(layer):
        weight = weight.unflatten(0, (groups_of(layer), -1)).transpose(1, 2).flatten(0, 1)
    layer.weight = parameter(weight.contiguous())


def silence(layer: Layer, outputs: Bool[Tensor, " out"]) -> None:
    """Zeros, in place, for the weights of these outputs."""
    if is_transposed(layer):
        by_group = layer.weight.unflatten(0, (groups_of(layer), -1))
        by_group.masked_fill_(outputs.view(len(by_group), 1, -1, *[1] * (by_group.dim() - 3)), 0)
    else:
        layer.weight[outputs] = 0


def is_zero_padded(layer: Layer) -> bool:
    """Whether a constant input is none at the border, or adds another number to each position.

    So it is where a convolution reads zeros around its input, or is transposed.
    """
    if is_transposed(layer):
        return True
    if isinstance(layer, nn.Linear) or layer.padding_mode != "zeros":
        return False
    return layer.padding == "same" or (layer.padding != "valid" and any(width != 0 for width in layer.padding))


def constant_outputs(layer: Layer) -> Float[Tensor, " out"]:
    """The bias of every output whose weights are all zero, NaN for the others."""
    weight = by_output(layer)
    bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias
    return bias.masked_fill(weight.flatten(1).any(1), torch.nan)


def read_inputs(layer: Layer) -> Bool[Tensor, " in"]:
    """The inputs of a layer for which some weight is not zero."""
    weight = by_output(layer)
    by_group = weight.reshape(groups_of(layer), -1, weight.shape[1], _positions(layer))
    return by_group.any(3).any(1).flatten()


def fold_constants(layer: Layer, constants: Float[Tensor, " in"]) -> None:
    """Move what constant inputs add to the outputs into the bias; the weights that read them become zero.

    Where zeros are padded only a constant of zero is one everywhere. The others become one: the
    largest carries the weights of all, which is exact. In a grouped convolution they stay as they
    are.

    Args:
        layer: changed in place. It gets a bias if it has none and needs one.
        constants: value of each input, NaN where it is not constant.
    """
    constant = ~constants.isnan()
    if not constant.any():
        return
    foldable = constants == 0 if is_zero_padded(layer) else constant
    before = by_output(layer)
    groups, inputs = groups_of(layer), before.shape[1]
    weight = before.to(torch.float64, copy=True).reshape(len(before), inputs, -1)
    if groups == 1:
        _merge(weight, constants.double(), constant & ~foldable)
    by_group = weight.view(groups, -1, inputs, _positions(layer))
    values = constants.double().where(foldable, 0).view(groups, 1, inputs)
    shift = (by_group.sum(3) * values).sum(2).flatten()
    by_group.masked_fill_(foldable.view(groups, 1, inputs, 1), 0)
    put_weight(layer, weight.view_as(before).to(before))
    if shift.any():
        layer.bias = parameter((shift if layer.bias is None else layer.bias + shift).to(layer.weight))


def _merge(
    weight: Float[Tensor, "outputs inputs positions"],
    constants: Float[Tensor, " inputs"],
    which: Bool[Tensor, " inputs"],
) -> None:
    """Let the largest of several constant inputs carry the weights of all, in place."""
    if not which.any():
        return
    largest = constants.abs().masked_fill(~which, 0).argmax()
    carried = torch.einsum("oip,i->op", weight[:, which], constants[which] / constants[largest])
    weight[:, which] = 0
    weight[:, largest] = carried


def select(layer: Layer, outputs: Bool[Tensor, " out"], inputs: Bool[Tensor, " in"] | None) -> None:
    """Leave only some outputs and inputs of a layer, in place.

    Args:
        layer: a grouped convolution loses the groups of which nothing stays.
        outputs: those that stay; of all groups as many.
        inputs: those that stay, of all groups as many; None: all, the layer has one group.
    """
    groups = groups_of(layer)
    before = by_output(layer)
    by_group, made = before.reshape(groups, -1, *before.shape[1:]), outputs.view(groups, -1)
    read = (torch.ones(before.shape[1], dtype=torch.bool) if inputs is None else inputs).view(groups, -1)
    left = made.any(1)
    weight = torch.cat([w[o][:, i] for w, o, i in zip(by_group[left], made[left], read[left], strict=True)])
    if not isinstance(layer, nn.Linear):
        layer.groups = int(left.sum())
    put_weight(layer, weight)
    if layer.bias is not None:
        layer.bias = parameter(layer.bias[outputs])
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = weight.shape
    else:
        layer.out_channels, layer.in_channels = len(weight), weight.shape[1] * layer.groups


def select_per_channel(module: nn.Module, kept: Bool[Tensor, " channels"]) -> None:
    """Leave only some channels of a norm or PReLU, in place; of a GroupNorm whole groups."""
    parameters = dict(module.named_parameters())
    for name, value in module.state_dict().items():
        if value.shape == kept.shape:
            setattr(module, name, parameter(value[kept]) if name in parameters else value[kept])
    if isinstance(module, nn.GroupNorm):
        module.num_groups = module.num_groups * int(kept.sum()) // len(kept)
        module.num_channels = int(kept.sum())
        return
    size = "num_parameters" if isinstance(module, nn.PReLU) else "num_features"
    if getattr(module, size) == len(kept):  # a PReLU may have one weight for all
        setattr(module, size, int(kept.sum()))


def fold_norms(traced: Traced) -> None:
    """Fold every BatchNorm that alone reads a convolution or linear layer into it, and take it out of the graph."""
    for node in traced.nodes:
        source = node.all_input_nodes[0] if traced.kind(node) == "batchnorm" else None
        if source is None or traced.kind(source) not in LAYERS or len(source.users) > 1:
            continue
        if traced.is_shared(node) or traced.is_shared(source):
            continue
        layer, norm = traced.called(source), traced.called(node)
        same_axis = len(traced.shapes[source]) == layer.weight.dim()
        if norm.running_var is not None and same_axis:
            _fold_norm(layer, norm)
            node.replace_all_uses_with(source)
            traced.module.graph.erase_node(node)


def _fold_norm(layer: Layer, norm: Any) -> None:
    """Make `layer` do what `layer` and then `norm` did, up to rounding."""
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.affine:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double() if layer.bias is None else layer.bias.double() - norm.running_mean.double()
    bias = shift * scale if not norm.affine else shift * scale + norm.bias.double()
    weight = by_output(layer).double() * scale.view(-1, *[1] * (layer.weight.dim() - 1))
    layer.bias = parameter(bias.to(layer.weight))
    put_weight(layer, weight.to(layer.weight))


def _positions(layer: Layer) -> int:
    """Weights from one input to one output."""
    return layer.weight[0, 0].numel()
