"""What is known of the channels of a value in a traced network, and how channels of two values go together."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
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
    """Each `block` channels of `source` go with `repeat` channels of the result, the first of which is `offset`.

    All stay, or none.

    An activation ties 1 with 1, the flattening of an image 1 with its pixels, a grouped convolution
    the inputs of a group with its outputs.
    """

    source: fx.Node
    offset: int = 0
    block: int = 1
    repeat: int = 1

    def rows(self, source: Tensor, result: Tensor) -> tuple[Tensor, Tensor]:
        """Views of two vectors, one row for each block: (blocks, block) and (blocks, repeat)."""
        blocks = len(source) // self.block
        return source.view(blocks, self.block), result[self.offset : self.offset + blocks * self.repeat].view(
            blocks, self.repeat
        )


def pad_position(axis: int, rank: int) -> int:
    """Where F.pad, which counts axes from the last, has the two widths of `axis`."""
    return 2 * (rank - 1 - axis)


def beside_zeros(source: Channels) -> Tensor:
    """The constants of a value that is read together with zeros around it: only zero is still constant."""
    other = source.constant.nan_to_num() != 0
    if other.any():
        source.why = "not zero, and read beside padded zeros"
    return source.constant.masked_fill(other, torch.nan)
