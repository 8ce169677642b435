"""The raw data set as it was found: every image with where it came from, decoded or with the reason why not."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from seam.data.prepared import Split
from seam.data.resize import resize_and_crop
from seam.data.scratch import Pixels, Scratch, Spilled, together
from seam.data.stored import StoredArray
from seam.errors import DataError


@dataclass(frozen=True)
class RawImage:
    """One image of a raw data set."""

    path: str
    """Where it came from: a file, or "file.npz[x_train:17]"."""
    split: Split
    label: int
    """As given; not yet known to be an index into the classes."""
    kept: Pixels | Spilled | None
    """Shape (height, width, channels), channels 1 or 3, in memory or in a file; None when the image does
    not decode."""
    error: str | None = None
    """Why it does not decode."""
    size: tuple[int, int] | None = None
    """(height, width) as found, before it is brought to a size; None: not known."""
    is_turned: bool = False
    """Whether its file says (EXIF) that the pixels are to be turned or mirrored to be seen upright."""
    is_upright: bool = False
    """Whether they were; otherwise they are as they lie there."""
    is_first_of_several: bool = False
    """Whether its file has more pictures: an animation, or pages."""
    is_transparent: bool = False
    """Whether any of its pixels is not opaque in the file; here all are."""

    @property
    def pixels(self) -> Pixels | None:
        """Shape (height, width, channels); read anew each time where they are in a file."""
        return self.kept.read() if isinstance(self.kept, Spilled) else self.kept

    @property
    def mode(self) -> str | None:
        """`L` (one channel) or `RGB`; None when the image does not decode."""
        if self.kept is None:
            return None
        repeated = self.kept.repeated if isinstance(self.kept, Spilled) else 1
        return "L" if self.kept.shape[2] * repeated == 1 else "RGB"


@dataclass(frozen=True)
class RawData:
    """A raw data set: images of its splits, train first, test last, in a fixed order."""

    images: tuple[RawImage, ...]
    classes: tuple[str, ...]


def resize_all(data: RawData, size: int, scratch: Scratch) -> RawData:
    """The same data with every decoded image `size` x `size` pixels, in a file."""

    def resized(image: RawImage) -> RawImage:
        pixels = image.pixels
        if pixels is None:
            return image
        return replace(image, kept=scratch.put(resize_and_crop(pixels, size)), size=_size(pixels))

    return replace(data, images=tuple(map(resized, data.images)))


def _size(pixels: npt.NDArray[np.uint8]) -> tuple[int, int]:
    return pixels.shape[0], pixels.shape[1]


def without_copies(data: RawData) -> RawData:
    """The same data without the training images that are in val or test too, and the val images that are in test."""
    seen: dict[Split, set[tuple[tuple[int, ...], bytes]]] = {"train": set(), "val": set(), "test": set()}
    for image in data.images:
        if image.kept is not None:
            seen[image.split].add(_identity(image))
    elsewhere = {"train": seen["val"] | seen["test"], "val": seen["test"], "test": set()}
    return replace(
        data,
        images=tuple(i for i in data.images if i.kept is None or _identity(i) not in elsewhere[i.split]),
    )


def _identity(image: RawImage) -> tuple[tuple[int, ...], bytes]:
    pixels = image.pixels
    assert pixels is not None
    return pixels.shape, hashlib.sha256(pixels.tobytes()).digest()  # not the bytes themselves: they may be gigabytes


def same_mode(data: RawData) -> RawData:
    """The same data with gray images repeated to RGB when any image is RGB."""
    if all(i.mode != "RGB" for i in data.images):
        return data
    return replace(data, images=tuple(replace(i, kept=_in_colour(i)) if i.mode == "L" else i for i in data.images))


def _in_colour(image: RawImage) -> Pixels | Spilled:
    """A gray image's pixels, three times."""
    assert image.kept is not None
    return image.kept.in_colour() if isinstance(image.kept, Spilled) else image.kept.repeat(3, axis=2)


def one_array(data: RawData, where: Path) -> StoredArray:
    """All images as one array, shape (images, height, width, channels).

    Args:
        data: as read.
        where: it was read, in errors.

    Raises:
        DataError: an image does not decode, or they have several sizes.
    """
    for image in data.images:
        if image.kept is None:
            raise DataError(f"{image.path}: expected an image, got {image.error}; replace or remove the file.")
    kept = [image.kept for image in data.images if image.kept is not None]
    shapes = {image.kept.shape[:2]: image.path for image in data.images if image.kept is not None}
    if len(shapes) > 1:
        some = ", ".join(f"{s[1]} x {s[0]} ({Path(p).name})" for s, p in list(shapes.items())[:2])
        raise DataError(f"{where}: expected images of one size, got {some}", hint="image_size")
    return together(kept)
