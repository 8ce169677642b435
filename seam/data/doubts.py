"""What is doubtful about images that are read: one picture with two labels, what a file says and is not followed."""

from __future__ import annotations

import hashlib
import unicodedata
import warnings
from collections.abc import Sequence

from seam.data.raw import RawData, RawImage
from seam.errors import SuspectResultWarning

MOST_ENLARGED = 4
"""Times that an image's short side may be made longer, or its long side be longer than the short one."""


def doubt_images(data: RawData, image_size: int | None) -> None:
    """Warn (`SuspectResultWarning`) of what may be a mistake in a data set, with the names of files.

    Args:
        data: as read.
        image_size: side that its images were brought to; None: they were not.
    """
    _doubt_labels(data)
    _doubt_names(data)
    _doubt_turned(data)
    _doubt_several(data)
    _doubt_transparent(data)
    if image_size is not None:
        _doubt_sizes(data, image_size)


def _doubt_labels(data: RawData) -> None:
    """The same picture in two classes of one split: at least one of its labels is wrong."""
    first: dict[tuple[str, tuple[int, ...], bytes], RawImage] = {}
    pairs: list[tuple[RawImage, RawImage]] = []
    for image in data.images:
        pixels = image.pixels
        if pixels is not None:
            key = (image.split, pixels.shape, hashlib.sha256(pixels.tobytes()).digest())
            known = first.setdefault(key, image)
            if known.label != image.label:
                pairs.append((known, image))
    if pairs:
        shown = [" and ".join(f"{i.path} ({_class_of(i, data)})" for i in pair) for pair in pairs]
        _doubt(
            f"{len(pairs)} images have the pixels of one with another label: {_some(shown, 2)}; correct the label of"
            " one, or remove both."
        )


def _doubt_turned(data: RawData) -> None:
    """Images that viewers show otherwise than they are read: right only for a network trained on them so."""
    turned = [image.path for image in data.images if image.is_turned and not image.is_upright]
    if turned:
        _doubt(
            f"{len(turned)} images have an EXIF orientation, which is ignored: {_some(turned, 3)}; the loaders of"
            " torchvision and timm ignore it too, so leave them if the network was trained with these on such files; if"
            " it saw upright images, set `exif` of the data to apply, or turn the pixels (mogrify -auto-orient)."
        )


def _doubt_several(data: RawData) -> None:
    """Animations, and files of several pages: nobody knows which picture was meant."""
    several = [image.path for image in data.images if image.is_first_of_several]
    if several:
        _doubt(
            f"{len(several)} files hold several pictures, of which the first is read: {_some(several, 3)}; where"
            " another one is meant, save it alone."
        )


def _doubt_names(data: RawData) -> None:
    """Classes that a file system or a person may take for one."""
    alike: dict[str, list[str]] = {}
    for name in data.classes:
        alike.setdefault(unicodedata.normalize("NFKC", name).casefold().strip(), []).append(name)
    pairs = [" and ".join(names) for names in alike.values() if len(names) > 1]
    if pairs:
        _doubt(f"classes are called almost alike: {_some(pairs, 3)}; where they are one, put their images together.")


def _doubt_transparent(data: RawData) -> None:
    """Images whose transparent pixels become visible, in whatever colour their file has for them."""
    transparent = [image.path for image in data.images if image.is_transparent]
    if transparent:
        _doubt(
            f"{len(transparent)} images have transparent pixels, which are read as opaque ones of the colour beneath:"
            f" {_some(transparent, 1)}; if the network was trained on another background, put them on it."
        )


def _doubt_sizes(data: RawData, image_size: int) -> None:
    """Images that are mostly made up, or mostly cut off, by the size that they are brought to."""
    odd = [
        f"{i.path} ({i.size[1]} x {i.size[0]})"
        for i in data.images
        if i.size and (min(i.size) * MOST_ENLARGED <= image_size or max(i.size) > MOST_ENLARGED * min(i.size))
    ]
    if odd:
        _doubt(
            f"{len(odd)} images are much smaller than {image_size} x {image_size} pixels, or so long that their crop"
            f" leaves little of them: {_some(odd, 3)}; check that they are what they should be."
        )


def _doubt(text: str) -> None:
    """Warn, in the name of who asked for the doubts of a data set."""
    warnings.warn(text, SuspectResultWarning, stacklevel=4)


def _class_of(image: RawImage, data: RawData) -> str:
    return data.classes[image.label] if 0 <= image.label < len(data.classes) else str(image.label)


def _some(names: Sequence[str], most: int) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
