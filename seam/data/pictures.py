"""Picture files that come from anywhere, to pixels: within limits, first looked at, then decoded.

Needs only numpy and Pillow.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

MOST_PIXELS = 89_478_485
"""Of one picture (a quarter of a GiB in colour), where Pillow warns; a file of a few kilobytes can
claim far more."""
_RUN_PROGRAMS = frozenset({"EPS", "WMF"})
"""Formats that Pillow gives to another program, which runs what the file says."""
GREY = frozenset({"1", "L", "LA", "La"})
"""Modes of Pillow of one channel."""
DEEP = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
"""Modes of more than 8 bits a sample."""
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
        ValueError: more pixels than that, or no plain file.
        OSError: it is no picture of these formats, or is damaged; `UNREADABLE` has what else may come.
    """
    if isinstance(file, Path):
        check_plain(file)
    with Image.open(file, formats=formats or _formats()) as image:
        pixels = image.width * image.height
        if pixels > most_pixels:
            raise ValueError(f"expected at most {most_pixels:,} pixels, got {image.width} x {image.height}")
        if image.format == "PNG":
            _check_sums(file)
        yield image


def _check_sums(file: Path | BytesIO) -> None:
    """Of a PNG, which nobody looks at when its pixels are decoded; looked at, they cannot be decoded any more."""
    with Image.open(file if isinstance(file, Path) else BytesIO(file.getvalue()), formats=("PNG",)) as same:
        same.verify()


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(kind for kind in Image.ID if kind not in _RUN_PROGRAMS)


def decode(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Pixels of a PIL image, shape (height, width, 1 or 3).

    Black and white (mode 1) and grey ones (L, LA) have one channel, other modes of 8 bits a sample
    become RGB; transparency is dropped. Of colours of 16 bits a sample Pillow gives the upper 8.

    Raises:
        ValueError: grey of more than 8 bits a sample, whose range nobody knows.
        OSError: the file is damaged or is not an image.
    """
    if image.mode in DEEP:
        raise ValueError(f"expected 8 bits a sample, got mode {image.mode}; convert it to 8 bits (mogrify -depth 8)")
    wanted = "L" if image.mode in GREY else "RGB"
    array = np.array(image if image.mode == wanted else image.convert(wanted), dtype=np.uint8)
    return array[..., None] if array.ndim == 2 else array


def check_plain(file: Path) -> None:
    """Raise a ValueError for a folder, a pipe or a device, which may never come to an end.

    Raises:
        OSError: it is not there, or cannot be looked at.
    """
    mode = file.stat().st_mode
    if not stat.S_ISREG(mode):
        raise ValueError(f"expected a file, got a {'folder' if stat.S_ISDIR(mode) else 'pipe or device'}")


def orientation(image: Image.Image) -> int:
    """The EXIF orientation of a PIL image that is loaded, 1 to 8; 1 where none is noted: upright."""
    try:
        noted = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (ValueError, SyntaxError, struct.error, OSError):  # a damaged note, beside pixels that are whole
        return 1
    return int(noted) if noted in range(2, 9) else 1


def upright(pixels: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Pixels (height, width, channels) turned and mirrored as their EXIF orientation says they are to be seen."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    down, across = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return np.ascontiguousarray(pixels[:: -1 if down else 1, :: -1 if across else 1])


def is_transparent(image: Image.Image) -> bool:
    """Whether any pixel of a PIL image of 8 bits a sample is not opaque."""
    if not image.has_transparency_data:
        return False
    return bool((np.asarray(image.convert("RGBA"))[..., 3] < 255).any())
