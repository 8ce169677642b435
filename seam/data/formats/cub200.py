"""CUB-200-2011: 200 species of birds, 5,994 training and 5,794 test images.

Source: C. Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, CNS-TR-2011-001, and the README in
it. Each list has a number and what belongs to it on every line; numbers begin at 1.
"""

from __future__ import annotations

from pathlib import Path

from seam.data.formats.listing import ListedImage, Listing
from seam.data.formats.published import Published, check_layout, complete, read_lines
from seam.errors import DataError

CUB200 = Published(
    "CUB-200-2011",
    "https://www.vision.caltech.edu/datasets/cub_200_2011/",
    ("images/", "images.txt", "image_class_labels.txt", "classes.txt", "train_test_split.txt"),
)


def list_cub200(root: Path) -> Listing:
    """The images of images.txt, those with 1 in train_test_split.txt in train, the others in test.

    Classes are in the order of their numbers in classes.txt, with the names there
    (001.Black_footed_Albatross).

    Raises:
        DataError: `root` is not its folder, the lists disagree, a listed image is missing, or a
            class has no image.
    """
    check_layout(root, CUB200)
    names = _numbered(root / "classes.txt")
    files = _numbered(root / "images.txt")
    labels = _numbered(root / "image_class_labels.txt")
    in_train = _numbered(root / "train_test_split.txt")
    ranks = {str(number): rank for rank, number in enumerate(sorted(names))}
    _same_images(files, labels, root / "image_class_labels.txt")
    _same_images(files, in_train, root / "train_test_split.txt")
    _known(labels, set(ranks), "a class of classes.txt", root / "image_class_labels.txt")
    _known(in_train, {"0", "1"}, "1 (train) or 0 (test)", root / "train_test_split.txt")
    images = [
        ListedImage(root / "images" / file, "train" if in_train[i] == "1" else "test", ranks[labels[i]])
        for i, file in files.items()
    ]
    return complete(images, tuple(names[number] for number in sorted(names)), root, CUB200)


def _numbered(path: Path) -> dict[int, str]:
    found: dict[int, str] = {}
    for line_number, line in read_lines(path, CUB200):
        number, *rest = line.split(maxsplit=1)
        if not number.isdecimal() or not rest or int(number) in found:
            raise DataError(
                f"{path}:{line_number}: expected a new number and what belongs to it, got '{line}'; {CUB200.again}."
            )
        found[int(number)] = rest[0]
    return found


def _same_images(files: dict[int, str], other: dict[int, str], path: Path) -> None:
    differ = sorted(files.keys() ^ other.keys())
    if differ:
        where = "images.txt" if differ[0] in other else "this file"
        raise DataError(
            f"{path}: expected the {len(files)} numbers of images.txt, {differ[0]} is not in {where}; {CUB200.again}."
        )


def _known(values: dict[int, str], allowed: set[str], what: str, path: Path) -> None:
    wrong = next((number for number, value in values.items() if value not in allowed), None)
    if wrong is not None:
        raise DataError(f"{path}: expected {what} for image {wrong}, got '{values[wrong]}'; {CUB200.again}.")
