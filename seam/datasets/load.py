"""Which raw format is read by what."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from seam.datasets.cifar import cifar_classes, fetch_cifar, load_cifar
from seam.datasets.image_folder import image_folder_classes, load_image_folder
from seam.datasets.npz import load_npz, npz_classes
from seam.datasets.raw import RawData, resize_all

Kind = Literal["npz", "image_folder", "cifar10", "cifar100"]


def load_raw(kind: Kind, path: Path, image_size: int | None = None) -> RawData:
    """Read a raw data set, resized to `image_size` (short side, then centre crop) unless that is None.

    Raises:
        DataError: the data set is not there or has another structure. One bad image is no error here: it is part of the result.
    """
    if kind == "npz":
        data = load_npz(path)
    elif kind == "image_folder":
        data = load_image_folder(path)
    else:
        data = load_cifar(kind, path)
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
    if kind == "npz":
        return npz_classes(path)
    return image_folder_classes(path) if kind == "image_folder" else cifar_classes(kind, path)
