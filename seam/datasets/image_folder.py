"""A data set in folders: root/train/<class>/* and root/test/<class>/*."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from seam.datasets.raw import RawData, RawImage, Split, decode, same_mode
from seam.errors import DataError


def load_image_folder(root: Path) -> RawData:
    """Read every file below the class folders, in sorted order; hidden files are skipped.

    Gray images stay gray unless one image is in colour: then all become RGB. A file that does not decode is part of
    the result, with its error.

    Raises:
        DataError: a folder is missing, there is no class, or train and test have other classes.
    """
    classes = _classes(root, "train")
    test_classes = _classes(root, "test")
    if classes != test_classes:
        for split, other, missing in (("train", "test", set(test_classes) - set(classes)), ("test", "train", set(classes) - set(test_classes))):
            if missing:
                name = min(missing)
                raise DataError(
                    f"{root / split}: expected the classes of {other}, the folder '{name}' is missing; make {root / split / name} or remove the other."
                )
    images: list[RawImage] = []
    splits: tuple[Split, Split] = ("train", "test")
    for split in splits:
        for label, name in enumerate(classes):
            images += [_read(file, split, label) for file in _visible(root / split / name)]
    return same_mode(RawData(tuple(images), classes))


def image_folder_classes(root: Path) -> tuple[str, ...]:
    """The class folders of train, sorted.

    Raises:
        DataError: there is no such folder, or no class in it.
    """
    return _classes(root, "train")


def _classes(root: Path, split: Split) -> tuple[str, ...]:
    folder = root / split
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected {root}/train/<class>/* and {root}/test/<class>/*.")
    entries = _visible(folder)
    for entry in entries:
        if not entry.is_dir():
            raise DataError(f"{entry}: expected only class folders in {folder}, got a file; move it into its class.")
    if not entries:
        raise DataError(f"{folder}: expected one folder for each class, got none; put images in {folder}/<class>/.")
    return tuple(entry.name for entry in entries)


def _visible(folder: Path) -> list[Path]:
    return sorted((entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _read(file: Path, split: Split, label: int) -> RawImage:
    try:
        with Image.open(file) as image:
            return RawImage(str(file), split, label, decode(image))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as e:  # SyntaxError: Pillow's, for a broken PNG
        return RawImage(str(file), split, label, None, " ".join(str(e).split()) or type(e).__name__)
