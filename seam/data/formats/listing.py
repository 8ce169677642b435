"""What a data set says it holds, known before any image is opened; and its images, decoded one at a time."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from seam.configs.data import Exif
from seam.data.pictures import UNREADABLE, decode, is_transparent, opened, orientation, upright
from seam.data.prepared import Split
from seam.data.raw import RawData, RawImage, same_mode
from seam.data.resize import resize_and_crop
from seam.data.scratch import Scratch
from seam.hardware import cores

_AT_ONCE = 128
"""Decoded images that are held in memory, at most."""
_WITH_PREVIEWS = frozenset({"MPO", "ICO", "ICNS"})
"""Formats with one picture in several sizes or beside previews of it; the first is the largest."""


@dataclass(frozen=True)
class ListedImage:
    """One image of a data set, not yet opened."""

    file: Path
    split: Split
    label: int
    """Index into the classes."""


@dataclass(frozen=True)
class Listing:
    """The images of a data set, train first, and its classes, in their order."""

    images: tuple[ListedImage, ...]
    classes: tuple[str, ...]
    skipped: tuple[Path, ...] = ()
    """Files beside them that are no images by their names."""
    not_read: tuple[str, ...] = ()
    """Folders beside those of the splits."""


def is_plain(name: str) -> bool:
    """Whether a name can be shown in a line and written as UTF-8."""
    return all(unicodedata.category(letter) not in ("Cc", "Cs") for letter in name)


def read_images(listing: Listing, image_size: int | None, scratch: Scratch, exif: Exif = "ignore") -> RawData:
    """Decode the images into a file, in the order of the listing, on all cores this process may use.

    Gray images stay gray unless one image is in colour: then all become RGB. A file that does not
    decode is part of the result, with its error.

    Args:
        listing: what to read.
        image_size: side that each image is brought to (short side, then centre crop); None: keep the
            sizes.
        scratch: where the pixels go.
        exif: what is done about an EXIF orientation.
    """
    Image.init()  # formats register themselves when first needed, which threads must not do at once
    with ThreadPoolExecutor(cores()) as pool:
        found = _in_turn(pool, listing, image_size, exif)
        bar = tqdm(found, total=len(listing.images), desc="images", unit="image", disable=None)
        images = tuple(i if i.pixels is None else replace(i, kept=scratch.put(i.pixels)) for i in bar)
    return same_mode(RawData(images, listing.classes))


def _in_turn(pool: ThreadPoolExecutor, listing: Listing, image_size: int | None, exif: Exif) -> Iterator[RawImage]:
    """The decoded images, so many at once that they wait for none of the others in memory."""
    read = partial(_read, image_size=image_size, exif=exif)
    for first in range(0, len(listing.images), _AT_ONCE):
        yield from pool.map(read, listing.images[first : first + _AT_ONCE])


def _read(listed: ListedImage, image_size: int | None, exif: Exif) -> RawImage:
    path = str(listed.file)
    try:
        with opened(listed.file) as image:
            pixels, turned, transparent = decode(image), orientation(image), is_transparent(image)
            several = image.format not in _WITH_PREVIEWS and getattr(image, "is_animated", False)
        if exif == "apply":
            pixels = upright(pixels, turned)
        size = (pixels.shape[0], pixels.shape[1])
        if image_size is not None:
            # a copy: the crop alone would keep all it was cut from
            pixels = np.array(resize_and_crop(pixels, image_size))
    except UNREADABLE as e:
        return RawImage(path, listed.split, listed.label, None, " ".join(str(e).split()) or type(e).__name__)
    return RawImage(
        path,
        listed.split,
        listed.label,
        pixels,
        size=size,
        is_turned=turned != 1,
        is_upright=turned != 1 and exif == "apply",
        is_transparent=transparent,
        is_first_of_several=several,
    )
