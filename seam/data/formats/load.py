"""Which raw format is read by what: a record a kind."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from seam.configs.data import DataKind, Exif
from seam.data.formats.actions40 import ACTIONS40, list_actions40
from seam.data.formats.cifar import CifarKind, cifar_classes, fetch_cifar, load_cifar
from seam.data.formats.cub200 import CUB200, list_cub200
from seam.data.formats.dogs120 import DOGS120, list_dogs120
from seam.data.formats.flowers102 import FLOWERS102, list_flowers102
from seam.data.formats.image_folder import image_folder_classes, list_image_folder, say_skipped
from seam.data.formats.links import check_inside
from seam.data.formats.listing import Listing, is_plain, read_images
from seam.data.formats.mit67 import MIT67, list_mit67
from seam.data.formats.npz import load_npz, npz_classes
from seam.data.formats.published import Published
from seam.data.formats.tensors import load_tensors, tensors_classes
from seam.data.raw import RawData, resize_all, same_mode
from seam.data.scratch import Scratch
from seam.errors import DataError

_NOT_READABLE = (errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EIO, errno.ESTALE)
_FEW = 64
"""Images that are looked at, at most, where a few will do."""
_Image = TypeVar("_Image")


@dataclass(frozen=True, kw_only=True)
class Format:
    """One kind of raw data."""

    read: Callable[[Path, int | None, Scratch, Exif], RawData]
    """Of (path, side of the images in pixels or None, where pixels go, what is done about an orientation)."""
    classes: Callable[[Path], tuple[str, ...]]
    """Of the path; no image is decoded."""
    listed: Callable[[Path], Listing] | None = None
    """Of the path: its images, none decoded; None: they lie in few files, which are read whole."""
    path: str
    """What has to lie at the path, in words."""
    order: str
    """Which classes it has, in which order, in words."""
    fetch: Callable[[Path], None] | None = None
    """Downloads it to the path, unless it is there; None: nothing is downloaded."""
    published: Published | None = None
    """Where it comes from, of the data sets of the published transfer experiments."""


def _resized(
    read: Callable[[Path, Scratch], RawData], path: Path, image_size: int | None, scratch: Scratch, exif: Exif
) -> RawData:
    """What is read as it is, and then resized; pixels in arrays have no orientation."""
    data = read(path, scratch)
    return data if image_size is None else resize_all(data, image_size, scratch)


def _read_folder(path: Path, image_size: int | None, scratch: Scratch, exif: Exif) -> RawData:
    """A data set in folders; a line of the log counts what was skipped."""
    listing = list_image_folder(path)
    say_skipped(path, listing.skipped, listing.not_read)
    return read_images(listing, image_size, scratch, exif)


def _cifar(kind: CifarKind, title: str) -> Format:
    return Format(
        read=partial(_resized, lambda path, scratch: load_cifar(kind, path)),
        classes=partial(cifar_classes, kind),
        fetch=partial(fetch_cifar, kind),
        path=f"a folder for torchvision's {title}: downloaded if it is empty and the network allows",
        order="as torchvision has them",
    )


def _published(about: Published, list_images: Callable[[Path], Listing], order: str, note: str = "") -> Format:
    def read(path: Path, image_size: int | None, scratch: Scratch, exif: Exif) -> RawData:
        listing = list_images(path)
        if image_size is None:
            raise DataError(
                f"{path}: the images of {about.title} have many sizes, expected one to bring them to (published: 224)",
                hint="image_size",
            )
        return read_images(listing, image_size, scratch, exif)

    return Format(
        read=read,
        classes=lambda path: list_images(path).classes,
        listed=list_images,
        path=f"the folder with {', '.join(f'`{name}`' for name in about.holds)}{note}",
        order=order,
        published=about,
    )


FORMATS: dict[DataKind, Format] = {
    "npz": Format(
        read=partial(_resized, load_npz),
        classes=npz_classes,
        path="a file with `x_train`, `y_train`, `x_test`, `y_test` (uint8, NHWC or NHW) and, optionally, `x_val`"
        " with `y_val`, and `classes`",
        order="`classes`, or the labels as numbers",
    ),
    "safetensors": Format(
        read=partial(_resized, load_tensors),
        classes=tensors_classes,
        path="a file with the same arrays, and `classes`, a list of text in JSON, among its metadata",
        order="`classes`, or the labels as numbers",
    ),
    "image_folder": Format(
        read=_read_folder,
        classes=image_folder_classes,
        listed=list_image_folder,
        path="a folder with `train/<class>/*`, `test/<class>/*` and, optionally, `val/<class>/*` (or `valid/`)",
        order="folders of `train/`, sorted",
    ),
    "cifar10": _cifar("cifar10", "CIFAR-10"),
    "cifar100": _cifar("cifar100", "CIFAR-100"),
    "mit67": _published(MIT67, list_mit67, "folders of `Images/`, sorted"),
    "cub200": _published(CUB200, list_cub200, "by their numbers in `classes.txt`"),
    "flowers102": _published(
        FLOWERS102, list_flowers102, 'their numbers, "1" to "102"', "; train is `trnid` and `valid`"
    ),
    "actions40": _published(ACTIONS40, list_actions40, "names of the lists, sorted"),
    "dogs120": _published(DOGS120, list_dogs120, "by their numbers in the lists, called as the folders"),
}
"""In the order of `DataKind`, in which documentation lists them."""

PUBLISHED: tuple[DataKind, ...] = tuple(kind for kind, found in FORMATS.items() if found.published)
"""Data sets of the published transfer experiments, in their official files and splits."""


def load_raw(
    kind: DataKind,
    path: Path,
    image_size: int | None = None,
    scratch: Scratch | None = None,
    exif: Exif = "ignore",
) -> RawData:
    """Read a raw data set, resized to `image_size` (short side, then centre crop) unless that is None.

    Pixels go to `scratch`, or to a temporary file. `exif` says what is done about an orientation.

    Raises:
        DataError: the data set is not there or has another structure, or its images have many sizes
            and `image_size` is None. One bad image is no error here: it is part of the result.
    """
    with _readable(path):
        data = FORMATS[kind].read(path, image_size, scratch or Scratch(), exif)
    return replace(data, classes=_plain_names(data.classes, path))


def check_links(kind: DataKind, path: Path) -> None:
    """Raise a DataError where images of a data set lie outside of its folder; none is opened.

    Raises:
        DataError: so, or the data set is not there or has another structure.
    """
    listed = FORMATS[kind].listed
    if listed is not None:
        with _readable(path):
            check_inside(listed(path), path)


def read_some(kind: DataKind, path: Path, image_size: int | None = None, exif: Exif = "ignore") -> RawData:
    """A few images of a raw data set, spread over it; the others are not decoded where each has a file of its own.

    Raises:
        DataError: the data set is not there or has another structure.
    """
    scratch, listed = Scratch(), FORMATS[kind].listed
    if listed is not None:
        with _readable(path):
            listing = listed(path)
            return read_images(replace(listing, images=_spread(listing.images)), image_size, scratch, exif)
    data = load_raw(kind, path, None, scratch)
    some = same_mode(replace(data, images=_spread(data.images)))
    return some if image_size is None else resize_all(some, image_size, scratch)


def _spread(images: tuple[_Image, ...]) -> tuple[_Image, ...]:
    places = {round(i * (len(images) - 1) / (_FEW - 1)) for i in range(_FEW)}
    return tuple(image for place, image in enumerate(images) if place in places)


def fetch(kind: DataKind, path: Path) -> None:
    """Get a data set that can be downloaded (CIFAR), unless it is there; nothing for the other kinds.

    Raises:
        DataError: it could not be downloaded.
    """
    download = FORMATS[kind].fetch
    if download is not None:
        download(path)


def class_names(kind: DataKind, path: Path) -> tuple[str, ...]:
    """The classes of a raw data set, in their order, without decoding its images.

    Raises:
        DataError: the data set is not there or has another structure.
    """
    with _readable(path):
        return _plain_names(FORMATS[kind].classes(path), path)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raise a DataError where the system does not let a data set be read; a full disk is another matter."""
    try:
        yield
    except OSError as e:
        if e.errno not in _NOT_READABLE:
            raise
        raise DataError(
            f"{e.filename or path}: expected a data set that can be read, got: {e.strerror}; mend its rights or path."
        ) from e


def _plain_names(classes: tuple[str, ...], path: Path) -> tuple[str, ...]:
    """The names of classes, which are shown, and written as text."""
    for name in classes:
        if not name.strip() or not is_plain(name):
            raise DataError(
                f"{path}: expected names of classes in plain text (UTF-8, no line breaks), got {ascii(name)[:80]};"
                " rename it."
            )
    return classes
