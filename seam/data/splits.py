"""How training images are split into train and validation: the one function that carves val."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seam.data.problems import IntArray


class TrainVal(NamedTuple):
    """Ascending indices of images; together they are all images."""

    train: IntArray
    """Shape (n - m,)."""
    val: IntArray
    """Shape (m,)."""


def carve_val(images: npt.NDArray[np.uint8], labels: IntArray, fraction: float, seed: int) -> TrainVal:
    """Carve validation out of training images: the same share of every class, a function of images, labels and seed.

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


def _identical_groups(images: npt.NDArray[np.uint8]) -> IntArray:
    """Number of the group of byte-identical images that each image is in, shape (n,)."""
    numbers: dict[bytes, int] = {}
    return np.array(
        [numbers.setdefault(hashlib.sha256(image.tobytes()).digest(), len(numbers)) for image in images], dtype=np.int64
    )
