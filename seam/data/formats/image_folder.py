"""A data set in folders: root/train/<class>/*, root/test/<class>/* and, if wanted, root/val/<class>/* (or valid/)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from PIL import Image

from seam.data.formats.listing import ListedImage, Listing
from seam.data.prepared import Split
from seam.errors import DataError

logger = logging.getLogger(__name__)

VAL_FOLDERS = ("val", "valid", "validation")
"""Names of the folder of images for validation."""
_LEFT_BY_SYSTEMS = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "$recycle.bin", "@eadir"}
)
"""Files and folders that Windows, macOS and network drives leave behind, in lower case; hidden ones aside."""
_UNREADABLE = frozenset({".heic", ".heif", ".avif", ".jxl", ".svg", ".raw", ".dng", ".cr2", ".nef", ".arw"})
"""Suffixes of images that Pillow may not read: such a file is an image that does not decode, and not skipped."""


def list_image_folder(root: Path) -> Listing:
    """Every image below the class folders, in sorted order.

    Hidden files and what systems leave behind are skipped, and so are files whose suffix is no
    image's; the listing has the latter two.

    Raises:
        DataError: a folder is missing, there is no class, or two of train, val and test have other
            classes.
    """
    skipped: list[Path] = []
    folders = _split_folders(root)
    classes = _classes(root, "train", skipped)
    for name in list(folders.values())[1:]:
        _same_classes(root, name, set(classes), set(_classes(root, name, skipped)))
    images: list[ListedImage] = []
    for split, name in folders.items():
        for label, of_class in enumerate(classes):
            found, others = image_files(root / name / of_class)
            images += [ListedImage(file, split, label) for file in found]
            skipped += others
    return Listing(tuple(images), classes, tuple(skipped))


def image_folder_classes(root: Path) -> tuple[str, ...]:
    """The class folders of train, sorted.

    Raises:
        DataError: there is no such folder, or no class in it.
    """
    return _classes(root, "train", [])


def image_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The images of one class, sorted by name (a folder among them is one that does not decode), and what is no image.

    Hidden files are in neither.
    """
    entries = _not_hidden(folder)
    images = [e for e in entries if not _is_left_behind(e) and (e.is_dir() or _has_image_suffix(e))]
    return images, [e for e in entries if e not in set(images)]


def visible(folder: Path) -> list[Path]:
    """The entries of a folder that are not hidden and were not left behind by a system, sorted by name."""
    return [entry for entry in _not_hidden(folder) if not _is_left_behind(entry)]


def say_skipped(root: Path, skipped: Sequence[Path]) -> None:
    """One line that counts what was skipped and names some of it."""
    if skipped:
        names = ", ".join(str(path.relative_to(root)) for path in skipped[:3])
        more = f" and {len(skipped) - 3} more" if len(skipped) > 3 else ""
        logger.warning(
            "%s: %d files are no images by their names and are skipped: %s%s.", root, len(skipped), names, more
        )


def _not_hidden(folder: Path) -> list[Path]:
    return sorted((entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _is_left_behind(entry: Path) -> bool:
    return entry.name.lower() in _LEFT_BY_SYSTEMS


def _has_image_suffix(file: Path) -> bool:
    return file.suffix.lower() in _image_suffixes()


@cache
def _image_suffixes() -> frozenset[str]:
    known = Image.registered_extensions()  # loads the formats
    return frozenset(suffix for suffix, kind in known.items() if kind in Image.OPEN) | _UNREADABLE


def _split_folders(root: Path) -> dict[Split, str]:
    """The splits there are -> the names of their folders."""
    val = [name for name in VAL_FOLDERS if (root / name).is_dir()]
    if len(val) > 1:
        raise DataError(f"{root}: expected one folder of images for validation, got {', '.join(val)}; remove one.")
    if val and (root / "train").is_dir() and not (root / "test").is_dir():
        raise DataError(
            f"{root / 'test'}: no such folder, expected images that nothing is chosen on; {val[0]}/ is there: rename it"
            " to test, or make both."
        )
    return {"train": "train", **({"val": val[0]} if val else {}), "test": "test"}


def _same_classes(root: Path, split: str, trained: set[str], found: set[str]) -> None:
    """Raise a DataError unless a split has the classes of train."""
    for lacks, other, missing in (("train", split, found - trained), (split, "train", trained - found)):
        if missing:
            name = min(missing)
            raise DataError(
                f"{root / lacks}: expected the classes of {other}, the folder '{name}' is missing; make"
                f" {root / lacks / name} or remove the other."
            )


def _classes(root: Path, split: str, skipped: list[Path]) -> tuple[str, ...]:
    """The class folders of a split, sorted; what is skipped beside them is added to `skipped`."""
    folder = root / split
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected {root}/train/<class>/* and {root}/test/<class>/*.")
    entries = _not_hidden(folder)
    skipped += [e for e in entries if _is_left_behind(e) or (e.is_file() and not _has_image_suffix(e))]
    classes = [entry for entry in entries if entry not in skipped]
    for entry in classes:
        if not entry.is_dir():
            raise DataError(f"{entry}: expected only class folders in {folder}, got a file; move it into its class.")
    if not classes:
        raise DataError(f"{folder}: expected one folder for each class, got none; put images in {folder}/<class>/.")
    return tuple(entry.name for entry in classes)
