"""Validation carved out of training images: shares by class, and copies on one side."""

from __future__ import annotations

import numpy as np

from seam.data.splits import carve_val


def different_images(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.uint8).repeat(4).reshape(count, 2, 2, 1)


def test_every_class_gives_its_share_and_every_image_is_on_one_side() -> None:
    labels = np.array([0] * 20 + [1] * 10 + [2] * 2 + [3])
    train, val = carve_val(different_images(33), labels, 0.2, 7)
    assert sorted([*train, *val]) == list(range(33))
    assert list(train) == sorted(train)
    assert list(val) == sorted(val)
    assert [(labels[val] == c).sum() for c in range(4)] == [4, 2, 1, 0]  # the last class has one image: nothing is left


def test_the_draw_is_of_the_seed() -> None:
    images, labels = different_images(40), np.zeros(40, dtype=np.int64)
    drawn = np.sort(np.random.default_rng(5).permutation(40)[:10])
    assert np.array_equal(carve_val(images, labels, 0.25, 5).val, drawn)
    assert not np.array_equal(carve_val(images, labels, 0.25, 6).val, drawn)


def test_copies_stay_on_one_side() -> None:
    images, labels = different_images(40), np.zeros(40, dtype=np.int64)
    plain = carve_val(images, labels, 0.25, 0)
    images[plain.val[0]] = images[plain.train[0]]  # one copy on either side: both belong to train
    images[plain.val[1]] = images[plain.val[2]]  # both drawn for validation: they stay there
    train, val = carve_val(images, labels, 0.25, 0)
    assert np.array_equal(val, plain.val[1:])
    assert np.array_equal(train, np.sort([*plain.train, plain.val[0]]))
