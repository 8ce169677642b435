"""MIT Indoor 67: 67 kinds of rooms, 80 training and 20 test images of each.

Source: A. Quattoni and A. Torralba, Recognizing Indoor Scenes, CVPR 2009. Its partition: two lists
of <class>/<file>.
"""

from __future__ import annotations

from pathlib import Path

from seam.data.formats.image_folder import visible
from seam.data.formats.listing import ListedImage, Listing
from seam.data.formats.published import SPLITS, Published, check_layout, complete, read_lines
from seam.errors import DataError

MIT67 = Published(
    "MIT Indoor 67", "https://web.mit.edu/torralba/www/indoor.html", ("Images/", "TrainImages.txt", "TestImages.txt")
)


def list_mit67(root: Path) -> Listing:
    """The images of TrainImages.txt and TestImages.txt; those of Images/ in neither list are left out.

    Classes are the folders of Images/, sorted: the lists have no numbers.

    Raises:
        DataError: `root` is not its folder, a list names another class or a missing image, or a
            class has no image.
    """
    check_layout(root, MIT67)
    classes = tuple(entry.name for entry in visible(root / "Images") if entry.is_dir())
    labels = {name: label for label, name in enumerate(classes)}
    images: list[ListedImage] = []
    for split, file in zip(SPLITS, ("TrainImages.txt", "TestImages.txt"), strict=True):
        for number, line in read_lines(root / file, MIT67):
            name, slash, _ = line.partition("/")
            if not slash or name not in labels:
                raise DataError(
                    f"{root / file}:{number}: expected <class>/<file> with a folder of Images/ as class, got '{line}';"
                    f" {MIT67.again}."
                )
            images.append(ListedImage(root / "Images" / line, split, labels[name]))
    return complete(images, classes, root, MIT67)
