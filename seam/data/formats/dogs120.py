"""Stanford Dogs: 120 breeds of ImageNet, 100 training images of each and 8,580 test images.

Source: A. Khosla et al., Novel Dataset for Fine-Grained Image Categorization, FGVC at CVPR 2011.
train_list.mat and test_list.mat have `file_list` (n x 1 cells, <class>/<file> below Images/) and
`labels` (n x 1, from 1).
"""

from __future__ import annotations

from pathlib import Path

from seam.data.formats.listing import ListedImage, Listing
from seam.data.formats.mat_file import numbers, read_mat, texts
from seam.data.formats.published import SPLITS, Published, check_layout, complete
from seam.errors import DataError

DOGS120 = Published(
    "Stanford Dogs", "http://vision.stanford.edu/aditya86/ImageNetDogs/", ("Images/", "train_list.mat", "test_list.mat")
)


def list_dogs120(root: Path) -> Listing:
    """The images of the two lists.

    Classes are in the order of their numbers in the lists and are called by their folders
    (n02085620-Chihuahua).

    Raises:
        DataError: `root` is not its folder, a list is damaged or does not give one number to one
            folder, a listed image is missing, or a class has no image.
    """
    check_layout(root, DOGS120)
    names: dict[int, str] = {}
    rows = [(split, *row) for split in SPLITS for row in _rows(root / f"{split}_list.mat", names)]
    order = sorted(names)
    images = [ListedImage(root / "Images" / file, split, order.index(number)) for split, file, number in rows]
    return complete(images, tuple(names[number] for number in order), root, DOGS120)


def _rows(path: Path, names: dict[int, str]) -> list[tuple[str, int]]:
    """Files and class numbers of one list; the folder of each number is added to `names`."""
    file_list, label_list = read_mat(path, DOGS120, "file_list", "labels")
    files = texts(file_list, "file_list", path, DOGS120)
    if len(files) != len(label_list):
        raise DataError(
            f"{path}: expected a label for each of the {len(files)} files in file_list, got {len(label_list)} labels;"
            f" {DOGS120.again}."
        )
    rows = list(zip(files, numbers(label_list, len(files), "labels", path, DOGS120), strict=True))
    for file, number in rows:
        folder = file.partition("/")[0]
        if names.setdefault(number, folder) != folder:
            raise DataError(
                f"{path}: expected one folder for class {number}, got '{names[number]}' and '{folder}';"
                f" {DOGS120.again}."
            )
    for number, folder in names.items():
        other = next(n for n, name in names.items() if name == folder)
        if other != number:
            raise DataError(
                f"{path}: expected one number for folder '{folder}', got {other} and {number}; {DOGS120.again}."
            )
    return rows
