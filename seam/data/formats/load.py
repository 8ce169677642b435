"""Which raw format is read by what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from seam.data.formats.actions40 import list_actions40
from seam.data.formats.cifar import cifar_classes, fetch_cifar, load_cifar
from seam.data.formats.cub200 import list_cub200
from seam.data.formats.dogs120 import list_dogs120
from seam.data.formats.flowers102 import list_flowers102
from seam.data.formats.image_folder import image_folder_classes, list_image_folder
from seam.data.formats.listing import Listing, read_images
from seam.data.formats.mit67 import list_mit67
from seam.data.formats.npz import load_npz, npz_classes
from seam.data.raw import RawData, resize_all
from seam.errors import DataError

PublishedKind = Literal["mit67", "cub200", "flowers102", "actions40", "dogs120"]
"""Data sets of the published transfer experiments, in their official files and splits."""
Kind = Literal["npz", "image_folder", "cifar10", "cifar100", PublishedKind]

LISTINGS: dict[PublishedKind, Callable[[Path], Listing]] = {
    "mit67": list_mit67,
    "cub200": list_cub200,
    "flowers102": list_flowers102,
    "actions40": list_actions40,
    "dogs120": list_dogs120,
}


def load_raw(kind: Kind, path: Path, image_size: int | None = None) -> RawData:
    """Read a raw data set, resized to `image_size` (short side, then centre crop) unless that is None.

    Raises:
        DataError: the data set is not there or has another structure, or its images have many sizes
            and `image_size` is None. One bad image is no error here: it is part of the result.
    """
    match kind:
        case "image_folder":
            return read_images(list_image_folder(path), image_size)
        case "npz":
            data = load_npz(path)
        case "cifar10" | "cifar100":
            data = load_cifar(kind, path)
        case _:
            listing = LISTINGS[kind](path)
            if image_size is None:
                raise DataError(
                    f"{path}: the images of {kind} have many sizes, expected one to bring them to; set data.image_size"
                    " (published: 224)."
                )
            return read_images(listing, image_size)
    return data if image_size is None else resize_all(data, image_size)


def fetch(kind: Kind, path: Path) -> None:
    """Get a data set that can be downloaded (CIFAR), unless it is there; nothing for the other kinds.

    Raises:
        DataError: it could not be downloaded.
    """
    match kind:
        case "cifar10" | "cifar100":
            fetch_cifar(kind, path)


def class_names(kind: Kind, path: Path) -> tuple[str, ...]:
    """The classes of a raw data set, in their order, without decoding its images.

    Raises:
        DataError: the data set is not there or has another structure.
    """
    match kind:
        case "npz":
            return npz_classes(path)
        case "image_folder":
            return image_folder_classes(path)
        case "cifar10" | "cifar100":
            return cifar_classes(kind, path)
        case _:
            return LISTINGS[kind](path).classes
