"""What is said of a published data set that is damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seam.data.formats.load import class_names, load_raw
from seam.errors import DataError
from tests.seam.data.published import SIZE

HOLDS = {
    "mit67": ("Images", "TrainImages.txt", "TestImages.txt"),
    "cub200": ("images", "images.txt", "image_class_labels.txt", "classes.txt", "train_test_split.txt"),
    "flowers102": ("jpg", "imagelabels.mat", "setid.mat"),
    "actions40": ("JPEGImages", "ImageSplits"),
    "dogs120": ("Images", "train_list.mat", "test_list.mat"),
}
PAGES = {
    "mit67": "https://web.mit.edu/torralba/www/indoor.html",
    "cub200": "https://www.vision.caltech.edu/datasets/cub_200_2011/",
    "flowers102": "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
    "actions40": "http://vision.stanford.edu/Datasets/40actions.html",
    "dogs120": "http://vision.stanford.edu/aditya86/ImageNetDogs/",
}


def says(kind: Any, root: Path, *words: str) -> None:
    """One line with these words and the page of the data set, from `load_raw` and from `class_names` alike."""
    messages = []
    for call in (lambda: load_raw(kind, root, SIZE), lambda: class_names(kind, root)):
        with pytest.raises(DataError) as caught:
            call()
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "\n" not in messages[0]
    for word in words:
        assert word in messages[0], messages[0]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
