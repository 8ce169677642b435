"""A module: the part of a trained network that tells one of its classes from the others."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seam.compaction import compact
from seam.composition.heads import ReadOut
from seam.masks.groups import ChannelGroups, channel_groups
from seam.masks.kernels import groups_of_masks, is_of_kernels, kernel_masks, weight_masks
from seam.masks.masks import Masks, apply_masks
from seam.networks.source import Preprocess


@dataclass(frozen=True)
class Piece:
    """What makes a module of its source: a few kilobytes."""

    masks: Masks
    """Weight of a layer -> which of its kernels are kept, shape (out,), for all layers of the source that
    can lose some; or parameter -> which of its weights are kept, of its shape."""
    head: nn.Module
    """From the source's outputs to the class's score, one of `seam.composition.heads`."""


@dataclass(frozen=True)
class Takes:
    """The images that a network takes."""

    shape: tuple[int, ...]
    """(channels, height, width)."""
    scale: tuple[float, ...] | None
    """By which pixels as stored, 0 to 255, are multiplied, a value a channel; None: images come as floats."""
    shift: tuple[float, ...] | None
    """What is added then."""

    @staticmethod
    def of(preprocess: nn.Module, example: Tensor) -> Takes:
        """Those of a network behind `preprocess`; an example has the shape (images, channels, height, width)."""
        held = dict(preprocess.named_buffers())
        scale, shift = (tuple(held[n].flatten().tolist()) if n in held else None for n in ("scale", "shift"))
        return Takes(tuple(example.shape[1:]), scale, shift)

    def preprocess(self) -> nn.Module:
        """Images as stored to the network's input; the identity where images come as floats."""
        if self.scale is None or self.shift is None:
            return nn.Identity()
        made = Preprocess((0.0,) * 3, (1.0,) * 3)
        made.scale, made.shift = (torch.tensor(values).view(1, -1, 1, 1) for values in (self.scale, self.shift))
        return made

    def example(self) -> Float[Tensor, "1 c h w"]:
        """Zeros."""
        return torch.zeros(1, *self.shape)


class Module(nn.Module):
    """A network for one class: images as its source takes them to a score that is higher on images of the class.

    Attributes:
        network: images to scores of shape (batch, 1).
        of: the class.
        takes: the images it takes.
        origin: what its source is called, to tell modules of one class apart.
    """

    def __init__(self, network: nn.Module, of: str, takes: Takes, origin: str = "") -> None:
        super().__init__()
        self.network = network
        self.of = of
        self.takes = takes
        self.origin = origin

    def forward(self, images: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
        """Of each image, the class's score."""
        score: Tensor = self.network(images)
        return score.squeeze(1)


class _Headed(nn.Module):
    def __init__(self, network: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.network, self.head = network, head

    def forward(self, images: Tensor) -> Tensor:
        score: Tensor = self.head(self.network(images))
        return score


def masked(source: nn.Module, piece: Piece, groups: ChannelGroups | None = None) -> nn.Module:
    """A copy of the source with a piece's removed weights zero and its head behind it; images to (batch, 1).

    Args:
        source: in eval mode; it is not changed.
        piece: of it.
        groups: of its channels; None: none are needed, as the piece's masks are over single weights.

    Raises:
        MaskError: the masks are not those of this source.
    """
    network = copy.deepcopy(source)
    apply_masks(network, full_masks(network, piece, groups))
    return _Headed(network, copy.deepcopy(piece.head)).eval().requires_grad_(False)


def full_masks(source: nn.Module, piece: Piece, groups: ChannelGroups | None) -> Masks:
    """Parameter -> which weights a piece keeps, of the shape of the parameter."""
    if groups is None or not is_of_kernels(piece.masks, dict(source.named_parameters())):
        return piece.masks
    return weight_masks(source, groups, groups_of_masks(groups, piece.masks))


def groups_for(source: nn.Module, piece: Piece, example: Tensor) -> ChannelGroups | None:
    """The channel groups that a piece's masks are read with; None: none are needed."""
    if not is_of_kernels(piece.masks, dict(source.named_parameters())):
        return None
    return channel_groups(source, torch.zeros(2, *example.shape[1:]))


def extract(
    source: nn.Module, piece: Piece, groups: ChannelGroups | None, takes: Takes, of: str, origin: str = ""
) -> Module:
    """The module of a piece: without the removed kernels and all that has no effect then.

    Args:
        source: in eval mode, on the CPU; it is not changed.
        piece: of it.
        groups: see `groups_for`.
        takes: the images it takes.
        of: the class.
        origin: what the source is called.

    Raises:
        MaskError: the masks are not those of this source.
    """
    return Module(compact(masked(source, piece, groups), takes.example()).module, of, takes, origin)


def without_head(source: nn.Module, piece: Piece, groups: ChannelGroups | None, takes: Takes) -> nn.Module:
    """The module of a piece to all outputs of its source, (batch, outputs): what its head reads."""
    headless = Piece(piece.masks, nn.Identity())
    return compact(masked(source, headless, groups), takes.example()).module


def whole(source: nn.Module, groups: ChannelGroups, outputs: int, index: int) -> Piece:
    """The piece that keeps everything and reads the source's own output."""
    return Piece(kernel_masks(groups, torch.ones(groups.number, dtype=torch.bool)), ReadOut(outputs, index))
