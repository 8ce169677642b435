"""What is known of the channels of a value in a traced network, and how channels of two values go together."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, fx


@dataclass
class Channels:
    """What is known of the channels of one value in the graph."""

    axis: int
    constant: Float[Tensor, " channels"]
    """Their value, NaN where it depends on the input or the position."""
    live: Bool[Tensor, " channels"] = field(init=False)
    kept: Bool[Tensor, " channels"] = field(init=False)
    why: str = ""
    """Why channels that do not depend on the input, or that nothing reads, are kept."""

    def __post_init__(self) -> None:
        self.live = torch.zeros_like(self.constant, dtype=torch.bool)
        self.kept = self.live.clone()


@dataclass(frozen=True)
class Tie:
    """Channels of `source` that go with channels of the result: all that are connected stay, or none.

    An activation ties 1 with 1, the flattening of an image 1 with its pixels, a norm of groups the
    channels of a group with each other.
    """

    source: fx.Node
    of_source: Int[Tensor, " pairs"]
    of_result: Int[Tensor, " pairs"]


def one_to_one(source: fx.Node, count: int, offset: int = 0) -> Tie:
    """Each channel with the same one, `offset` channels later."""
    return Tie(source, torch.arange(count), torch.arange(count) + offset)


def blockwise(source: fx.Node, blocks: int, of_source: int, of_result: int) -> Tie:
    """All channels of a block with all of the same block of the result; blocks of these sizes."""
    one = torch.arange(blocks * of_source).view(blocks, of_source, 1).expand(-1, -1, of_result)
    other = torch.arange(blocks * of_result).view(blocks, 1, of_result).expand(-1, of_source, -1)
    return Tie(source, one.flatten(), other.flatten())


def even_out(read: Bool[Tensor, " in"], made: Bool[Tensor, " out"], blocks: int) -> None:
    """Add channels, in place, until a grouped convolution can have those that are kept.

    Its groups of which something is kept read as many channels each, and make as many, at least
    one. Those that are added are the first of their group that are not kept.
    """
    by_block = (read.view(blocks, -1), made.view(blocks, -1))
    left = by_block[0].any(1) | by_block[1].any(1)
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
