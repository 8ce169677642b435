"""What a request may hold, and how one that holds something else is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seam.configs.data import Exif

Uint8Array = npt.NDArray[np.uint8]
AT_ONCE = 256
"""Images that the network is given at once."""
_LONGEST = 100
"""Times its short side, that an image may be long: brought to a size by its short side, it grows."""


class Refused(Exception):  # noqa: N818  it is an answer
    """A request that is not answered: HTTP status, and one line that says why."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status
        self.line = line


@dataclass(frozen=True)
class Limits:
    """Of one request."""

    body_bytes: int = 16_000_000
    images: int = 1_000
    pixels: int = 100_000_000
    """Of all its picture files together, decoded."""

    def check_count(self, images: int) -> None:
        """Refuse no image, or too many."""
        if images > self.images:
            raise Refused(
                413,
                f"expected at most {self.images:,} images a request, got {images:,}; send them in several requests, or"
                " serve with --max-images.",
            )
        if not images:
            raise Refused(400, "expected one image or more, got none.")


@dataclass(frozen=True)
class Takes:
    """The images that a model takes: uint8, (height, width, channels)."""

    height: int | None
    """None: any, the model brings them to its size."""
    width: int | None
    channels: int
    exif: Exif = "ignore"
    """What is done about an EXIF orientation of a picture file: what was done in training."""

    @property
    def words(self) -> str:
        """As a line says it."""
        return f"({self.height or 'any height'}, {self.width or 'any width'}, {self.channels})"

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether an image (height, width, channels) is one."""
        wanted = (self.height, self.width, self.channels)
        return (
            len(shape) == len(wanted)
            and min(shape) > 0
            and all(size in (None, got) for got, size in zip(shape, wanted, strict=True))
            and max(shape[:2]) <= _LONGEST * min(shape[:2])
        )
