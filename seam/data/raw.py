"""The raw data set as it was found: every image with where it came from, decoded or with the reason why not."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from seam.data.prepared import Split
from seam.data.resize import resize_and_crop


@dataclass(frozen=True)
class RawImage:
    """One image of a raw data set."""

    path: str
    """Where it came from: a file, or "file.npz[x_train:17]"."""
    split: Split
    label: int
    """As given; not yet known to be an index into the classes."""
    pixels: npt.NDArray[np.uint8] | None
    """Shape (height, width, channels), channels 1 or 3; None when the image does not decode."""
    error: str | None = None
    """Why it does not decode."""
    size: tuple[int, int] | None = None
    """(height, width) as found, before it is brought to a size; None: not known."""

    @property
    def mode(self) -> str | None:
        """`L` (one channel) or `RGB`; None when the image does not decode."""
        return None if self.pixels is None else "L" if self.pixels.shape[2] == 1 else "RGB"


@dataclass(frozen=True)
class RawData:
    """A raw data set: images of its splits, train first, test last, in a fixed order."""

    images: tuple[RawImage, ...]
    classes: tuple[str, ...]


def resize_all(data: RawData, size: int) -> RawData:
    """The same data with every decoded image `size` x `size` pixels."""
    return replace(
        data,
        images=tuple(
            i if i.pixels is None else replace(i, pixels=resize_and_crop(i.pixels, size), size=_size(i.pixels))
            for i in data.images
        ),
    )


def _size(pixels: npt.NDArray[np.uint8]) -> tuple[int, int]:
    return pixels.shape[0], pixels.shape[1]


def without_copies(data: RawData) -> RawData:
    """The same data without the training images that are in val or test too, and the val images that are in test."""
    seen: dict[Split, set[tuple[tuple[int, ...], bytes]]] = {"train": set(), "val": set(), "test": set()}
    for image in data.images:
        if image.pixels is not None:
            seen[image.split].add(_identity(image))
    elsewhere = {"train": seen["val"] | seen["test"], "val": seen["test"], "test": set()}
    return replace(
        data,
        images=tuple(i for i in data.images if i.pixels is None or _identity(i) not in elsewhere[i.split]),
    )


def _identity(image: RawImage) -> tuple[tuple[int, ...], bytes]:
    assert image.pixels is not None
    return image.pixels.shape, hashlib.sha256(
        image.pixels.tobytes()
    ).digest()  # not the bytes themselves: they may be gigabytes


def same_mode(data: RawData) -> RawData:
    """The same data with gray images repeated to RGB when any image is RGB."""
    if all(i.mode != "RGB" for i in data.images):
        return data
    return replace(
        data,
        images=tuple(
            replace(i, pixels=i.pixels.repeat(3, axis=2)) if i.pixels is not None and i.mode == "L" else i
            for i in data.images
        ),
    )


def decode(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Pixels of a PIL image, shape (height, width, 1 or 3).

    Mode L and RGB are kept, other modes of 8 bits a sample become RGB (transparency is dropped).

    Raises:
        ValueError: more than 8 bits a sample.
        OSError: the file is damaged or is not an image.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        raise ValueError(f"expected 8 bits a sample, got mode {image.mode}; convert it to 8 bits")
    array = np.array(image if image.mode in ("L", "RGB") else image.convert("RGB"), dtype=np.uint8)
    return array[..., None] if array.ndim == 2 else array
