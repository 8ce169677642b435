"""What the published data sets have in common: a folder that holds certain things, and lists of images in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from seam.data.formats.listing import ListedImage, Listing
from seam.data.prepared import Split
from seam.errors import DataError

SPLITS: tuple[Split, Split] = ("train", "test")


@dataclass(frozen=True)
class Published:
    """A data set as its authors published it."""

    title: str
    page: str
    """Where it is described and downloaded."""
    holds: tuple[str, ...]
    """What lies in its folder; folders end in a slash."""

    @property
    def again(self) -> str:
        """What to do about a damaged copy."""
        return f"get {self.title} again from {self.page}"

    def missing(self, folder: Path) -> list[str]:
        """What does not lie in `folder`."""
        return [
            name
            for name in self.holds
            if not ((folder / name).is_dir() if name.endswith("/") else (folder / name).is_file())
        ]


def check_layout(root: Path, published: Published) -> None:
    """Raise unless `root` is the folder of the data set.

    Raises:
        DataError: something is missing there, with where it was found instead (one folder up or
            down), or where to get it.
    """
    missing = published.missing(root)
    if not missing:
        return
    expected = f"expected {', '.join(published.holds)} of {published.title}"
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; {expected}; download it from {published.page}", hint="data_path")
    near = next((folder for folder in (root.parent, *sorted(root.iterdir())) if not published.missing(folder)), None)
    if near is not None:
        raise DataError(f"{root}: {expected} in this folder, found them in {near}", hint="data_path")
    raise DataError(
        f"{root}: {expected}, missing: {', '.join(missing)}; get it from {published.page}", hint="data_path"
    )


def read_lines(path: Path, published: Published) -> list[tuple[int, str]]:
    """The lines of a list that are not empty, each with its number (from 1).

    Raises:
        DataError: the file is missing or is not text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as e:
        raise DataError(
            f"{path}: no such file, expected a list of {published.title}; get it from {published.page}."
        ) from e
    except (OSError, UnicodeDecodeError) as e:
        raise DataError(f"{path}: expected a list of {published.title} in text, got: {e}; {published.again}.") from e
    return [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def complete(images: list[ListedImage], classes: tuple[str, ...], root: Path, published: Published) -> Listing:
    """The listing, train first, if every class has images in train and test and every image is there.

    Raises:
        DataError: a class has no image, or an image is not on disk.
    """
    for split in SPLITS:
        found = {image.label for image in images if image.split == split}
        empty = [name for label, name in enumerate(classes) if label not in found]
        if empty or not classes:
            what = (
                f"class '{empty[0]}' ({len(empty)} of {len(classes)} classes) has none"
                if empty
                else "there is no class"
            )
            raise DataError(
                f"{root}: expected {split} images of every class in the lists, {what}; {published.again}, or mend its"
                " lists."
            )
    absent = [image for image in images if not image.file.is_file()]
    if absent:
        first = absent[0]
        raise DataError(
            f"{first.file}: listed in {first.split} and not there ({len(absent)} of {len(images)} listed images are"
            f" missing); {published.again}."
        )
    return Listing(tuple(image for split in SPLITS for image in images if image.split == split), classes)
