"""How a data set is split into train, val and test, and the one function that carves val out of other images."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from seam.configs.data import SplitConfig, ValFrom
from seam.data.prepared import ImageArray, ImageData, Split
from seam.data.problems import IntArray
from seam.errors import DataError

FEWEST = 10
"""Images of every class that val and test must each have where val is carved out of test unasked."""


class TrainVal(NamedTuple):
    """Ascending indices of images; together they are all images."""

    train: IntArray
    """Shape (n - m,)."""
    val: IntArray
    """Shape (m,)."""


@dataclass(frozen=True)
class DataSplit:
    """Which images of a data set are train, val and test; ascending indices."""

    train: IntArray
    """Of its training images."""
    val: IntArray
    """Of the images that `val_split` names."""
    test: IntArray
    """Of its test images."""
    val_from: ValFrom
    too_few: str = ""
    """Why val was not carved out of test, where it should have been; empty where it was not to be."""

    @property
    def val_split(self) -> Split:
        """The split of the data set, as it is given, that `val` indexes."""
        return val_split(self.val_from)


def val_split(val_from: ValFrom) -> Split:
    """The split of a data set, as it is given, that has the val images."""
    return "val" if val_from == "given" else val_from


def split_data(data: ImageData, config: SplitConfig, seed: int, seen: bool) -> DataSplit:
    """Split a data set, the same for its source and for every problem: a function of images, labels, config and seed.

    Args:
        data: the data set.
        config: where val comes from, and how much is carved out.
        seed: of the draw.
        seen: whether the network at hand may have been trained on any of the training images: a
            given one. Val is then carved out of the test images, unless the config says otherwise.

    Raises:
        DataError: val is to be given and is not, or is to be carved out of test and a class has no
            image for val or none for test.
    """
    wanted, auto = config.val_from, config.val_from == "auto"
    train, test = np.arange(len(data.y_train)), np.arange(len(data.y_test))
    if wanted == "given" or (auto and data.has_val):
        return DataSplit(train, np.arange(len(data.given("val")[1])), test, "given")
    too_few = ""
    if wanted == "test" or (auto and seen):
        kept, val = carve_val(data.x_test, data.y_test, config.val_fraction, seed)
        too_few = _too_few(data, kept, val, FEWEST if auto else 1)
        if not too_few:
            return DataSplit(train, val, kept, "test")
        if not auto:
            raise DataError(f"val is to be carved out of test: {too_few}", hint="val_images")
    return DataSplit(*carve_val(data.x_train, data.y_train, config.val_fraction, seed), test, "train", too_few)


def _too_few(data: ImageData, kept: IntArray, val: IntArray, fewest: int) -> str:
    """Which class has too few test images to have `fewest` in val and in test; empty: none has."""
    count = len(data.classes)
    counts = {name: np.bincount(data.y_test[rows], minlength=count) for name, rows in (("val", val), ("test", kept))}
    for label in np.unique(data.y_test):
        if min(found[label] for found in counts.values()) < fewest:
            return (
                f"expected {fewest} or more images of every class in val and in test, '{data.classes[label]}' has"
                f" {counts['val'][label]} in val and {counts['test'][label]} in test"
            )
    return ""


def carve_val(images: ImageArray, labels: IntArray, fraction: float, seed: int) -> TrainVal:
    """Carve validation out of images: the same share of every class, a function of images, labels and seed.

    A copy of an image is never on both sides: an image drawn for validation goes back to train when
    one that is byte-identical is there. So a class may have no image for validation.

    Args:
        images: shape (n, ...).
        labels: shape (n,).
        fraction: share in (0, 1); of a class of two or more, at least one image is drawn and one
            is left.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    is_val = np.zeros(len(labels), dtype=bool)
    for c in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == c))
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        is_val[members[:count]] = True
    groups = _identical_groups(images)
    is_val &= ~np.isin(groups, groups[~is_val])
    return TrainVal(np.flatnonzero(~is_val), np.flatnonzero(is_val))


def _identical_groups(images: ImageArray) -> IntArray:
    """Number of the group of byte-identical images that each image is in, shape (n,)."""
    numbers: dict[bytes, int] = {}
    return np.array(
        [numbers.setdefault(hashlib.sha256(image.tobytes()).digest(), len(numbers)) for image in images], dtype=np.int64
    )
