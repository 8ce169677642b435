"""Stanford 40 Actions: 40 things people do, 100 training images of each and 5,532 test images.

Source: B. Yao et al., Human Action Recognition by Learning Bases of Action Attributes and Parts,
ICCV 2011. ImageSplits/ has, for each class, <class>_train.txt and <class>_test.txt, with a file
name on every line.
"""

from __future__ import annotations

from pathlib import Path

from seam.data.formats.image_folder import visible
from seam.data.formats.listing import ListedImage, Listing
from seam.data.formats.published import SPLITS, Published, check_layout, complete, read_lines
from seam.errors import DataError

ACTIONS40 = Published(
    "Stanford 40 Actions", "http://vision.stanford.edu/Datasets/40actions.html", ("JPEGImages/", "ImageSplits/")
)


def list_actions40(root: Path) -> Listing:
    """The images of the lists of all classes.

    Classes are those ImageSplits/ has lists of, sorted: the lists have no numbers.

    Raises:
        DataError: `root` is not its folder, a list or a listed image is missing, or a class has no
            image.
    """
    check_layout(root, ACTIONS40)
    splits = root / "ImageSplits"
    files = [entry.name for entry in visible(splits)]
    classes = tuple(
        sorted({name.removesuffix(end) for name in files for end in ("_train.txt", "_test.txt") if name.endswith(end)})
    )
    if not classes:
        raise DataError(
            f"{splits}: expected <class>_train.txt and <class>_test.txt of every class, got none of them;"
            f" {ACTIONS40.again}."
        )
    images = [
        ListedImage(root / "JPEGImages" / line, split, label)
        for split in SPLITS
        for label, name in enumerate(classes)
        for _, line in read_lines(splits / f"{name}_{split}.txt", ACTIONS40)
    ]
    return complete(images, classes, root, ACTIONS40)
