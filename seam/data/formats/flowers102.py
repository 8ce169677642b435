"""Oxford Flowers-102: 102 kinds of flowers, 2,040 images to train (training and validation parts), 6,149 to test.

Source: M.-E. Nilsback and A. Zisserman, Automated Flower Classification over a Large Number of
Classes, ICVGIP 2008. imagelabels.mat has `labels` (1 x n, the class of jpg/image_00001.jpg first),
setid.mat has `trnid`, `valid` and `tstid` (1 x k, numbers of images); all begin at 1.
"""

from __future__ import annotations

from pathlib import Path

from seam.data.formats.listing import ListedImage, Listing
from seam.data.formats.mat_file import numbers, read_mat
from seam.data.formats.published import Published, check_layout, complete
from seam.data.prepared import Split

FLOWERS102 = Published(
    "Flowers-102", "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/", ("jpg/", "imagelabels.mat", "setid.mat")
)
PARTS: dict[str, Split] = {"trnid": "train", "valid": "train", "tstid": "test"}
"""Arrays of setid.mat. *Same* as ReMoS, whose training images are `trnid` and `valid` together."""


def list_flowers102(root: Path) -> Listing:
    """The images that setid.mat names.

    Classes are in the order of their numbers in imagelabels.mat and are called by them ("1", "2",
    ...): the data set has no names.

    Raises:
        DataError: `root` is not its folder, a .mat file is damaged, a listed image is missing, or a
            class has no image.
    """
    check_layout(root, FLOWERS102)
    label_file, set_file = root / "imagelabels.mat", root / "setid.mat"
    (label_array,) = read_mat(label_file, FLOWERS102, "labels")
    count = len(label_array)
    labels = numbers(label_array, count, "labels", label_file, FLOWERS102)
    images: list[ListedImage] = []
    for (name, split), array in zip(PARTS.items(), read_mat(set_file, FLOWERS102, *PARTS), strict=True):
        found = numbers(array, count, name, set_file, FLOWERS102)
        images += [
            ListedImage(root / "jpg" / f"image_{number:05d}.jpg", split, labels[number - 1] - 1) for number in found
        ]
    return complete(images, tuple(str(number) for number in range(1, max(labels, default=0) + 1)), root, FLOWERS102)
