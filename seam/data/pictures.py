"""Picture files that come from anywhere, to pixels: within limits, first looked at, then decoded.

Needs only numpy and Pillow.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

MOST_PIXELS = 89_478_485
"""Of one picture (a quarter of a GiB in colour), where Pillow warns; a file of a few kilobytes can
claim far more."""
_RUN_PROGRAMS = frozenset({"EPS", "WMF"})
"""Formats that Pillow gives to another program, which runs what the file says."""
UNREADABLE = (OSError, ValueError, SyntaxError, OverflowError, MemoryError, Image.DecompressionBombError)
"""What Pillow and `opened` raise for a file that is damaged or is no picture; SyntaxError for a broken PNG."""


@contextmanager
def opened(
    file: Path | BytesIO, most_pixels: int = MOST_PIXELS, formats: tuple[str, ...] | None = None
) -> Iterator[Image.Image]:
    """A picture whose size is known and within the limit; no pixel of it has been decoded yet.

    Args:
        file: its path, or its content.
        most_pixels: more are refused.
        formats: as Pillow calls them; None: all that it reads by itself.

    Raises:
        ValueError: more pixels than that.
        OSError: it is no picture of these formats, or is damaged; `UNREADABLE` has what else may come.
    """
    with Image.open(file, formats=formats or _formats()) as image:
        pixels = image.width * image.height
        if pixels > most_pixels:
            raise ValueError(f"expected at most {most_pixels:,} pixels, got {image.width} x {image.height}")
        yield image


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(kind for kind in Image.ID if kind not in _RUN_PROGRAMS)


def decode(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Pixels of a PIL image, shape (height, width, 1 or 3).

    Black and white (mode 1) and grey ones (L, LA) have one channel, other modes of 8 bits a sample
    become RGB; transparency is dropped.

    Raises:
        ValueError: more than 8 bits a sample.
        OSError: the file is damaged or is not an image.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        raise ValueError(f"expected 8 bits a sample, got mode {image.mode}; convert it to 8 bits")
    wanted = "L" if image.mode in ("1", "L", "LA") else "RGB"
    array = np.array(image if image.mode == wanted else image.convert(wanted), dtype=np.uint8)
    return array[..., None] if array.ndim == 2 else array


def is_transparent(image: Image.Image) -> bool:
    """Whether any pixel of a PIL image of 8 bits a sample is not opaque."""
    if not image.has_transparency_data:
        return False
    return bool((np.asarray(image.convert("RGBA"))[..., 3] < 255).any())
