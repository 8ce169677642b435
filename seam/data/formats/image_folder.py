"""A data set in folders: root/train/<class>/*, root/test/<class>/* and, if wanted, root/val/<class>/*."""

from __future__ import annotations

from pathlib import Path

from seam.data.formats.listing import ListedImage, Listing
from seam.data.prepared import Split
from seam.errors import DataError


def list_image_folder(root: Path) -> Listing:
    """Every file below the class folders, in sorted order; hidden files are skipped.

    Raises:
        DataError: a folder is missing, there is no class, or two of train, val and test have other
            classes.
    """
    classes = _classes(root, "train")
    splits: tuple[Split, ...] = ("train", "val", "test") if (root / "val").is_dir() else ("train", "test")
    for split in splits[1:]:
        _same_classes(root, split, set(classes), set(_classes(root, split)))
    images: list[ListedImage] = []
    for split in splits:
        for label, name in enumerate(classes):
            images += [ListedImage(file, split, label) for file in visible(root / split / name)]
    return Listing(tuple(images), classes)


def image_folder_classes(root: Path) -> tuple[str, ...]:
    """The class folders of train, sorted.

    Raises:
        DataError: there is no such folder, or no class in it.
    """
    return _classes(root, "train")


def visible(folder: Path) -> list[Path]:
    """The entries of a folder that are not hidden, sorted by name."""
    return sorted((entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _same_classes(root: Path, split: Split, trained: set[str], found: set[str]) -> None:
    """Raise a DataError unless a split has the classes of train."""
    for lacks, other, missing in (("train", split, found - trained), (split, "train", trained - found)):
        if missing:
            name = min(missing)
            raise DataError(
                f"{root / lacks}: expected the classes of {other}, the folder '{name}' is missing; make"
                f" {root / lacks / name} or remove the other."
            )


def _classes(root: Path, split: Split) -> tuple[str, ...]:
    folder = root / split
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected {root}/train/<class>/* and {root}/test/<class>/*.")
    entries = visible(folder)
    for entry in entries:
        if not entry.is_dir():
            raise DataError(f"{entry}: expected only class folders in {folder}, got a file; move it into its class.")
    if not entries:
        raise DataError(f"{folder}: expected one folder for each class, got none; put images in {folder}/<class>/.")
    return tuple(entry.name for entry in entries)
