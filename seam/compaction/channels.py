"""What is known of the channels of a value in a traced network, and how channels of two values go together."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, fx

BY_HEADS = -1
"""In the place of an axis: heads of attention along the second axis, the features of each along the
last."""


@dataclass
class Channels:
    """What is known of the channels of one value in the graph."""

    axis: int
    """Along which they lie, from 0; or `BY_HEADS`."""
    constant: Float[Tensor, " channels"]
    """Their value, NaN where it depends on the input or the position."""
    live: Bool[Tensor, " channels"] = field(init=False)
    kept: Bool[Tensor, " channels"] = field(init=False)
    why: str = ""
    """Why channels that do not depend on the input, or that nothing reads, are kept."""

    def __post_init__(self) -> None:
        self.live = torch.zeros_like(self.constant, dtype=torch.bool)
        self.kept = self.live.clone()

    def shape(self, of_value: torch.Size) -> list[int]:
        """That of one number a channel, to be spread over a value of this shape."""
        along = (1, 3) if self.axis == BY_HEADS else (self.axis,)
        return [size if axis in along else 1 for axis, size in enumerate(of_value)]


@dataclass(frozen=True)
class Tie:
    """Channels of `source` that go with channels of the result: all that are connected stay, or none.

    An activation ties 1 with 1, the flattening of an image 1 with its pixels, a norm of groups the
    channels of a group with each other.
    """

    source: fx.Node
    of_source: Int[Tensor, " pairs"]
    of_result: Int[Tensor, " pairs"]


@dataclass(frozen=True)
class Blocks:
    """A grouped convolution, or heads: what is read and what is made lie in as many groups.

    A group that is left has as many channels as every other that is left, in both.
    """

    read: fx.Node
    made: fx.Node
    number: int
    """Of groups."""
    all_stay: bool = False
    """Whether something that is not known has as many groups."""


def one_to_one(source: fx.Node, count: int, offset: int = 0) -> Tie:
    """Each channel with the same one, `offset` channels later."""
    return Tie(source, torch.arange(count), torch.arange(count) + offset)


def blockwise(source: fx.Node, blocks: int, of_source: int, of_result: int) -> Tie:
    """All channels of a block with all of the same block of the result; blocks of these sizes."""
    one = torch.arange(blocks * of_source).view(blocks, of_source, 1).expand(-1, -1, of_result)
    other = torch.arange(blocks * of_result).view(blocks, 1, of_result).expand(-1, of_source, -1)
    return Tie(source, one.flatten(), other.flatten())


def even_out(read: Bool[Tensor, " in"], made: Bool[Tensor, " out"], number: int, all_stay: bool = False) -> None:
    """Add channels, in place, until a grouped convolution can have those that are kept.

    Its groups of which something is kept (of all, where all stay) read as many channels each, and
    make as many, at least one. Those that are added are the first of their group that are not kept.
    """
    by_block = (read.view(number, -1), made.view(number, -1))
    left = by_block[0].any(1) | by_block[1].any(1) | all_stay
    for kept in by_block:
        missing = kept.sum(1).max().clamp(min=1) - kept.sum(1)
        kept.logical_or_(left[:, None] & ((~kept).cumsum(1) <= missing[:, None]))


def pad_position(axis: int, rank: int) -> int:
    """Where F.pad, which counts axes from the last, has the two widths of `axis`."""
    return 2 * (rank - 1 - axis)


def beside_zeros(source: Channels) -> Tensor:
    """The constants of a value that is read together with zeros around it: only zero is still constant."""
    other = source.constant.nan_to_num() != 0
    if other.any():
        source.why = "not zero, and read beside padded zeros"
    return source.constant.masked_fill(other, torch.nan)
