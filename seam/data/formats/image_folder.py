"""A data set in folders: root/train/<class>/*, root/test/<class>/* and, if wanted, root/val/<class>/* (or valid/)."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from PIL import Image

from seam.data.formats.listing import ListedImage, Listing, is_plain
from seam.data.prepared import Split
from seam.errors import DataError

logger = logging.getLogger(__name__)

VAL_FOLDERS = ("val", "valid", "validation")
"""Names of the folder of images for validation."""
_LEFT_BY_SYSTEMS = frozenset(
    {
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "$recycle.bin", "@eadir"),
        *("system volume information", "lost+found", "__pycache__"),
    }
)
"""Files and folders that Windows, macOS and network drives leave behind, in lower case; hidden ones aside."""
_UNREADABLE = frozenset({".heic", ".heif", ".avif", ".jxl", ".svg", ".raw", ".dng", ".cr2", ".nef", ".arw"})
"""Suffixes of images that Pillow may not read: such a file is an image that does not decode, and not skipped."""


def list_image_folder(root: Path) -> Listing:
    """Every image below the class folders, in sorted order.

    Hidden files and what systems leave behind are skipped, and so are files whose suffix is no
    image's; the listing has the latter two.

    Raises:
        DataError: a folder is missing, there is no class, two of train, val and test have other
            classes, or a class has folders in place of images.
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
            _check_entries(root / name / of_class, found)
            images += [ListedImage(file, split, label) for file in found]
            skipped += others
    return Listing(tuple(images), classes, tuple(skipped), _not_read(root, folders))


def image_folder_classes(root: Path) -> tuple[str, ...]:
    """The class folders of train, sorted.

    Raises:
        DataError: there is no such folder, or no class in it.
    """
    return _classes(root, "train", [])


def image_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The images of one class, sorted by name (a folder among them is no image), and what is no image.

    Hidden files are in neither.
    """
    entries = _not_hidden(folder)
    images = [e for e in entries if not _is_left_behind(e) and (e.is_dir() or _has_image_suffix(e))]
    return images, [e for e in entries if e not in set(images)]


def visible(folder: Path) -> list[Path]:
    """The entries of a folder that are not hidden and were not left behind by a system, sorted by name."""
    return [entry for entry in _not_hidden(folder) if not _is_left_behind(entry)]


def say_skipped(root: Path, skipped: Sequence[Path], not_read: Sequence[str] = ()) -> None:
    """One line that counts what was skipped and names some of it; one that names folders beside those of images."""
    if not_read:
        logger.warning(
            "%s: %s: not read; images are in train/, test/ and, for validation, %s.",
            root,
            ", ".join(f"{name}/" for name in not_read[:5]),
            " or ".join(f"{name}/" for name in VAL_FOLDERS),
        )
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
    for name in ("train", "test"):
        if not (root / name).is_dir():
            raise _no_split(root, name)
    return {"train": "train", **({"val": val[0]} if val else {}), "test": "test"}


def _same_classes(root: Path, split: str, trained: set[str], found: set[str]) -> None:
    """Raise a DataError unless a split has the classes of train."""
    for lacks, other, missing in (("train", split, found - trained), (split, "train", trained - found)):
        if missing:
            name = min(missing)
            alike = next((n for n in found ^ trained if n != name and _same_to_the_eye(n, name)), None)
            if alike is not None:
                raise DataError(
                    f"{root / lacks}: expected the classes of {other}, got {alike!a} in place of {name!a}, which differ"
                    " in capitals, spaces or the way accents are written; rename one of the two."
                )
            if (root / lacks / name).is_file():
                raise DataError(f"{root / lacks / name}: expected a folder, as in {other}, got a file; replace it.")
            raise DataError(
                f"{root / lacks}: expected the classes of {other}, the folder '{name}' is missing; make"
                f" {root / lacks / name} or remove the other."
            )


def _same_to_the_eye(name: str, other: str) -> bool:
    one, two = (unicodedata.normalize("NFKC", text).casefold().strip() for text in (name, other))
    return one == two


def _classes(root: Path, split: str, skipped: list[Path]) -> tuple[str, ...]:
    """The class folders of a split, sorted; what is skipped beside them is added to `skipped`."""
    folder = root / split
    if not folder.is_dir():
        raise _no_split(root, split)
    entries = _not_hidden(folder)
    skipped += [e for e in entries if _is_left_behind(e) or (e.is_file() and not _has_image_suffix(e))]
    classes = [entry for entry in entries if entry not in skipped]
    for entry in classes:
        if not entry.is_dir():
            raise DataError(f"{entry}: expected only class folders in {folder}, got a file; move it into its class.")
    if not classes:
        raise DataError(f"{folder}: expected one folder for each class, got none; put images in {folder}/<class>/.")
    return tuple(entry.name for entry in classes)


def _no_split(root: Path, split: str) -> DataError:
    """What to say where train or test is not there: what is, or where it was found."""
    expected = f"expected {root}/train/<class>/* and {root}/test/<class>/*"
    if not root.is_dir():
        got = "a file" if root.is_file() else "no such folder"
        return DataError(f"{root}: {expected}, got {got}", hint="data_path")
    if (root / split).is_file():
        return DataError(f"{root / split}: {expected}, got a file; put images there in folders of their classes.")
    there = [entry.name for entry in visible(root) if entry.is_dir()]
    near = next((name for name in there if (root / name / "train").is_dir()), None)
    if near is not None:
        return DataError(f"{root / split}: no such folder; {expected}, found them in {root / near}", hint="data_path")
    found = ", ".join(there[:5]) + (f" and {len(there) - 5} more" if len(there) > 5 else "") or "no folder"
    return DataError(f"{root / split}: no such folder; {expected}, got {found}; rename or move them.")


def _check_entries(folder: Path, found: Sequence[Path]) -> None:
    """Raise a DataError for folders where the images of a class should be, and names that are no text."""
    unnamed = next((entry for entry in found if not is_plain(entry.name)), None)
    if unnamed is not None:
        raise DataError(
            f"{ascii(str(unnamed))[1:-1]}: expected a name in plain text (UTF-8, no line breaks); rename the file."
        )
    inside = [entry for entry in found if entry.is_dir()]
    if inside:
        raise DataError(
            f"{inside[0]}: expected images in {folder}, got a folder ({len(inside)} of {len(found)} entries are); move"
            " its images up, or make it a class."
        )


def _not_read(root: Path, folders: Mapping[Split, str]) -> tuple[str, ...]:
    """Folders beside those of the splits, where somebody may believe that images are read."""
    return tuple(e.name for e in visible(root) if e.is_dir() and e.name not in folders.values())
