"""The part of a masked network that still learns, as a smaller network to train in its place."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, fx, nn
from torch.nn.modules.conv import _ConvNd

from seam.compaction import ENGINE_BLOCK, TOLERANCE
from seam.compaction.analysis import mark_kept, mark_live
from seam.compaction.channels import Channels
from seam.compaction.constants import Constants
from seam.compaction.rewrite import check, rewrite
from seam.compaction.trace import LAYERS, NotFollowedError, Traced, trace, trains_alike
from seam.masks.masks import Masks


@dataclass(frozen=True)
class Left:
    """Which channels of a value the rest of a narrow network reads."""

    axis: int
    """Of the value's channels."""
    narrow: Int[Tensor, " channels"]
    """Where they are in the narrow network's value."""
    wide: Int[Tensor, " channels"]
    """Where the same ones are in the wide network's."""


@dataclass(frozen=True)
class Narrowed:
    """A network without the channels that nothing reads: outputs and gradients are the wide one's, in training too."""

    network: fx.GraphModule
    """Its nodes are called as those of the wide network's trace."""
    masks: Masks
    """Of the weights in it that stay removed; weights without any are left out."""
    positions: dict[str, Tensor]
    """Parameter or buffer of `network` -> where each entry is in the wide one's, flattened; -1: it
    is removed, and zero."""
    left: dict[str, Left]
    """Node of `network` -> the channels of its value; nodes without known channels are left out, and
    have all they had."""

    @torch.no_grad()
    def restore(self, wide: nn.Module) -> None:
        """Put what the narrow network has learned where it belongs in the wide one, in place."""
        now, wanted = self.network.state_dict(), wide.state_dict()
        for name, at in self.positions.items():
            wanted[name].view(-1)[at[at >= 0].to(wanted[name].device)] = now[name][(at >= 0).to(now[name].device)].to(
                wanted[name].device
            )


@torch.no_grad()
def narrow(network: nn.Module, masks: Masks, images: Float[Tensor, "batch channels h w"]) -> Narrowed | None:
    """Take out of a masked network what nothing reads. Norms stay, and what is constant is not folded: it may learn.

    Args:
        network: it is not changed.
        masks: weights that are zero and stay so.
        images: two or more, on its device; both networks must do the same to them.

    Returns:
        A smaller network on the same device; None where nothing can be taken out, or the network
        cannot be followed.
    """
    if len(list(network.parameters())) < len(list(network.named_parameters(remove_duplicate=False))):
        return None  # weights that two layers share have to stay the same
    twin = _numbered(network, masks)
    if not trains_alike(twin, images.cpu().double()):
        return None
    try:
        traced = trace(twin, images.cpu().double())
        left = _take_out(traced)
        positions = {name: numbers.long() - 1 for name, numbers in traced.module.state_dict().items()}
        if sum(at.numel() for at in positions.values()) == sum(
            value.numel() for value in network.state_dict().values()
        ):
            return None
        small = _filled(traced.module, network, positions)
        check(small, images, copy.deepcopy(network).eval()(images), TOLERANCE)
    except NotFollowedError:
        return None
    held = {name: positions[name] >= 0 for name in masks if name in positions}
    return Narrowed(small, {name: mask for name, mask in held.items() if not mask.all()}, positions, left)


def _take_out(traced: Traced) -> dict[str, Left]:
    known = Constants(traced, in_training=True)
    needed = mark_live(known)
    mark_kept(known, needed, ENGINE_BLOCK)  # torch computes channels in blocks as well
    rewrite(known, needed)
    _silence(traced)
    return {node.name: _left(known.channels[node]) for node in traced.nodes if node in known.channels}


def _left(channels: Channels) -> Left:
    return Left(channels.axis, channels.live[channels.kept].nonzero()[:, 0], channels.live.nonzero()[:, 0])


class Silenced(nn.Module):
    """In the place of a convolution without weights: its bias at every position."""

    def __init__(self, layer: _ConvNd, size: torch.Size) -> None:
        super().__init__()
        self.bias = layer.bias
        self.shape = (layer.out_channels, *size)

    def forward(self, images: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch channels ..."]:
        """The same for all images; of these only their number is used."""
        zeros = images.new_zeros((len(images), *self.shape))
        return zeros if self.bias is None else zeros + self.bias.view(-1, *[1] * (len(self.shape) - 1))


def _silence(traced: Traced) -> None:
    """Take out the convolutions that have no weight left, and with them what they alone read."""
    images = next(node for node in traced.nodes if node.op == "placeholder")
    for node in traced.nodes:
        layer = traced.called(node)
        followed = traced.kind(node) in LAYERS and not traced.is_shared(node)
        if isinstance(layer, _ConvNd) and followed and not layer.weight.any():
            traced.module.set_submodule(str(node.target), Silenced(layer, traced.shapes[node][2:]))
            node.args = (images,)
    traced.clean()


def _numbered(network: nn.Module, masks: Masks) -> nn.Module:
    """A copy that holds, instead of values, 1, 2, 3, ... in each of its tensors, and 0 where they are removed."""
    twin = copy.deepcopy(network).cpu().double().eval().requires_grad_(False)
    for name, value in twin.state_dict().items():
        numbers = torch.arange(1, value.numel() + 1).view(value.shape)
        value.copy_(numbers * masks[name].cpu() if name in masks else numbers)
    return twin


def _filled(small: fx.GraphModule, network: nn.Module, positions: dict[str, Tensor]) -> fx.GraphModule:
    """`small` with the values of `network` at these positions, of its types and on its device."""
    first = next(network.parameters())
    values = {name: value.cpu().view(-1) for name, value in network.state_dict().items()}
    small.load_state_dict(
        {name: torch.where(at >= 0, values[name][at.clamp(min=0)], 0) for name, at in positions.items()}
    )
    small.to(first.device, first.dtype)
    return small
