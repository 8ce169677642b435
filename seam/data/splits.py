"""How training images are split into train and validation: the one function that carves val."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from seam.data.problems import IntArray


def carve_val(labels: IntArray, fraction: float, seed: int, groups: IntArray | None = None) -> npt.NDArray[np.bool_]:
    """Which training images are validation.

    The same share of every class, the same for every problem and for the source.

    Args:
        labels: source labels of the training images, shape (n,).
        fraction: share in (0, 1); at least one image a class when the class has two or more.
        seed: of the draw.
        groups: from `identical_groups`, shape (n,); an image drawn for validation goes back to
            train when an image of its group is there, so that validation holds no byte-identical
            copy of a training image. None: no two are identical.

    Returns:
        Boolean array of shape (n,), True for validation.
    """
    rng = np.random.default_rng(seed)
    is_val = np.zeros(len(labels), dtype=bool)
    for c in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == c))
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        is_val[members[:count]] = True
    if groups is None:
        return is_val
    return is_val & ~np.isin(groups, groups[~is_val])


def identical_groups(images: npt.NDArray[np.uint8]) -> IntArray:
    """Number of the group of byte-identical images that each image is in, shape (n,); images of shape (n, ...)."""
    numbers: dict[bytes, int] = {}
    return np.array(
        [numbers.setdefault(hashlib.sha256(image.tobytes()).digest(), len(numbers)) for image in images], dtype=np.int64
    )
