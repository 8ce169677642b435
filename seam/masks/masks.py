"""Binary masks over a network's weights: which tensors have one, scores to mask, packing to one bit a weight."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from seam.errors import MaskError, SearchError
from seam.networks.layers import HAVE_WEIGHTS

Masks = Mapping[str, Tensor]
"""Parameter name -> boolean tensor of its shape, True where the weight is kept."""


_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def maskable(network: nn.Module) -> dict[str, nn.Parameter]:
    """Every weight and bias of convolutions, linear, attention and recurrent layers, in the order of the modules.

    A tensor that several layers share is there once, under the first of its names.

    Source: SeaM's published code (convolutions and linear layers, biases included, BatchNorm not),
    *same*.

    Raises:
        SearchError: there is none.
    """
    names = {parameter: name for name, parameter in network.named_parameters()}
    found = {
        names[parameter]: parameter
        for module in network.modules()
        if isinstance(module, HAVE_WEIGHTS)
        for parameter in module.parameters(recurse=False)
    }
    if not found:
        raise SearchError(
            f"{type(network).__name__} has no convolution, linear, attention or recurrent weights to mask; SeaM needs"
            " at least one."
        )
    return found


def outside_mask(network: nn.Module) -> dict[str, int]:
    """Parameters whose single weights no mask removes, each with the kind of its module -> how many weights it has.

    Embeddings, parameters of the network's own modules, slopes of PReLU. Scales and shifts of
    normalisation layers are not counted, here or anywhere.
    """
    masked, found = set(maskable(network).values()), dict[str, int]()
    for name, module in network.named_modules():
        for own, parameter in module.named_parameters(recurse=False):
            if parameter not in masked and not isinstance(module, _NORMS):
                masked.add(parameter)  # once, where several modules share it
                what = f"{f'{name}.{own}' if name else own} ({type(module).__name__})"
                found[what] = parameter.numel()
    return found


def counted(network: nn.Module) -> list[nn.Parameter]:
    """The weights that a network is said to have: all but those of normalisation layers, each tensor once."""
    norms = {p for m in network.modules() if isinstance(m, _NORMS) for p in m.parameters(recurse=False)}
    masked = set(maskable(network).values())
    return [p for p in network.parameters() if p in masked or p not in norms]


def density(masks: Masks) -> float:
    """Fraction of weights kept, in [0, 1]."""
    return sum(int(m.sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())


def whole_channels(masks: Masks) -> dict[str, Tensor]:
    """Masks without those weights whose layer keeps others of the same output and of the same input channel.

    What is left removes channels as a whole, and of biases what `masks` does.
    """
    found = dict[str, Tensor]()
    for name, mask in masks.items():
        if mask.ndim < 2 or _is_along_one_axis(mask):
            found[name] = mask
            continue
        made, read = mask.flatten(1).any(1), mask.transpose(0, 1).flatten(1).any(1)
        found[name] = (made[:, None] & read).view(*mask.shape[:2], *[1] * (mask.ndim - 2)).expand(mask.shape).clone()
    return found


def _is_along_one_axis(mask: Tensor) -> bool:
    """Whether a mask removes whole slices along an axis after the second, as of positions, and nothing else."""
    slices = (mask.movedim(axis, 0).flatten(1) for axis in range(2, mask.ndim))
    return any(bool((by_axis == by_axis[:, :1]).all()) for by_axis in slices)


@torch.no_grad()
def apply_masks(network: nn.Module, masks: Masks) -> None:
    """Zero the removed weights of `network`, in place.

    Raises:
        MaskError: a mask for a weight that does not exist, of another shape, or that is none.
    """
    if not isinstance(masks, Mapping):
        raise MaskError(f"expected masks by the names of parameters, got {type(masks).__name__}; give a dict of them.")
    parameters = dict(network.named_parameters())
    for name, mask in masks.items():
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.is_meta:
            got = f"{mask.dtype} on {mask.device}" if isinstance(mask, Tensor) else type(mask).__name__
            raise MaskError(f"mask for '{name}': expected a torch.bool tensor, True where kept, got {got}; convert it.")
        if name not in parameters:
            raise MaskError(
                f"mask for '{name}': the network has no such weight; is it the source this mask was made for?"
            )
        weight = parameters[name]
        if mask.shape != weight.shape:
            raise MaskError(
                f"mask for '{name}' has shape {tuple(mask.shape)}, expected {tuple(weight.shape)} to match the weight."
            )
        weight.masked_fill_(~mask.to(weight.device), 0)


def keep_highest(parameters: Mapping[str, Tensor], scores: Shaped[Tensor, " weights"], density: float) -> Masks:
    """The masks, on the CPU, that keep exactly round(density * weights) of the highest scores.

    Of equal scores the first ones.
    """
    if not 0 <= density <= 1:
        raise MaskError(f"density must be in [0, 1], got {density}.")
    if not torch.isfinite(scores).all():
        raise MaskError("expected finite scores of the weights, got NaN or infinite ones", hint="normalisation")
    kept = torch.zeros(len(scores), dtype=torch.bool)
    kept[scores.argsort(descending=True, stable=True)[: round(density * len(scores))]] = True
    return split_like(kept, parameters)


def split_like(flat: Shaped[Tensor, " weights"], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Views of a flat tensor by name, each of the shape of that name's tensor."""
    pieces = flat.split([t.numel() for t in tensors.values()])
    return {name: piece.view(t.shape) for (name, t), piece in zip(tensors.items(), pieces, strict=True)}
