"""Images as files: PNG and JPEG, one as the body of a request, or several in a form.

They are decoded as the training images were, within limits that are checked before anything is
decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from itertools import groupby
from typing import NamedTuple

import numpy as np

from seam.data.pictures import DEEP, GREY, UNREADABLE, decode, opened, orientation, upright
from tasks.serving.asked import AT_ONCE, Limits, Refused, Takes, Uint8Array

_FORMATS = ("PNG", "JPEG")


class File(NamedTuple):
    """What somebody sent."""

    name: str
    content: bytes


def images_in_files(files: Sequence[File], takes: Takes, limits: Limits) -> list[Uint8Array]:
    """The pictures, in their order, in batches (images, height, width, channels) of those that follow in one size.

    Raises:
        Refused: one is not understood whole, has another size or other channels than the model
            takes; or there are too many, or too many pixels.
    """
    limits.check_count(len(files))
    pixels: list[Uint8Array] = []
    left = limits.pixels
    for file in files:
        pixels.append(_decoded(file, takes, left))
        left -= pixels[-1].shape[0] * pixels[-1].shape[1]
    return [
        np.stack(same[first : first + AT_ONCE])
        for same in (list(group) for _, group in groupby(pixels, key=lambda image: image.shape))
        for first in range(0, len(same), AT_ONCE)
    ]


def _decoded(file: File, takes: Takes, most_pixels: int) -> Uint8Array:
    try:
        with opened(BytesIO(file.content), most_pixels, _FORMATS) as image:
            if getattr(image, "is_animated", False):
                raise ValueError("expected one picture, got several in one file")
            turned = orientation(image) if takes.exif == "apply" else 1
            height, width = (image.width, image.height) if turned >= 5 else (image.height, image.width)
            if not takes.fits((height, width, takes.channels)):
                raise ValueError(f"expected a picture of {takes.words}, got {height} x {width} pixels")
            if takes.channels == 1 and image.mode not in GREY | DEEP:
                raise ValueError("expected a grey picture, got one in colour; convert it")
            pixels = upright(decode(image), turned)
    except UNREADABLE as e:
        raise Refused(400, f"{file.name}: {_reason(e)}; send PNG or JPEG pictures.") from None
    return np.repeat(pixels, takes.channels, 2) if pixels.shape[2] < takes.channels else pixels


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return "expected a picture, got something else" if "cannot identify" in text else text or type(error).__name__
