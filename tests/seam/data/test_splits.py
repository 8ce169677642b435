"""Where val comes from, and how it is carved out of other images: shares by class, and copies on one side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seam.configs.data import SplitConfig
from seam.data.prepared import ImageData
from seam.data.splits import carve_val, split_data
from seam.errors import DataError


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


def data_of(tested: int, *, own: int = 0) -> ImageData:
    """Classes 0 and 1 with 20 training images each, `tested` test images of each, and `own` val images of each."""
    images = different_images(2 * (20 + tested + own))
    labels = np.arange(len(images)) % 2
    val: dict[str, Any] = {"x_val": images[: 2 * own], "y_val": labels[: 2 * own]} if own else {}
    held = 2 * (own + tested)
    return ImageData(images[held:], labels[held:], images[2 * own : held], labels[2 * own : held], ("a", "b"), **val)


@pytest.mark.parametrize(
    ("tested", "own", "seen", "val_from", "sizes"),
    [
        (20, 0, False, "train", (20, 20, 40)),
        (20, 0, True, "test", (40, 20, 20)),  # ten of a class on either side: as few as are enough
        (19, 0, True, "train", (20, 20, 38)),
        (20, 1, False, "given", (40, 2, 40)),
        (20, 1, True, "given", (40, 2, 40)),
        (1, 1, True, "given", (40, 2, 2)),
    ],
)
def test_auto_takes_the_best_that_there_is(
    tested: int, own: int, seen: bool, val_from: str, sizes: tuple[int, ...]
) -> None:
    split = split_data(data_of(tested, own=own), SplitConfig(val_fraction=0.5), 0, seen)
    assert split.val_from == val_from
    assert (len(split.train), len(split.val), len(split.test)) == sizes
    assert bool(split.too_few) == (tested == 19)


@pytest.mark.parametrize(
    ("val_from", "val_split", "sizes"),
    [("train", "train", (20, 20, 8)), ("test", "test", (40, 4, 4)), ("given", "val", (40, 6, 8))],
)
@pytest.mark.parametrize("seen", [True, False])
def test_what_is_asked_for_is_done(val_from: Any, val_split: str, sizes: tuple[int, ...], seen: bool) -> None:
    split = split_data(data_of(4, own=3), SplitConfig(val_fraction=0.5, val_from=val_from), 0, seen)
    assert (split.val_from, split.val_split, split.too_few) == (val_from, val_split, "")
    assert (len(split.train), len(split.val), len(split.test)) == sizes


def test_val_of_the_test_images_is_carved_as_of_any_others_and_copies_stay_on_one_side() -> None:
    data = data_of(20)
    plain = carve_val(data.x_test, data.y_test, 0.5, 7)
    data.x_test[plain.val[0]] = data.x_test[plain.train[0]]
    split = split_data(data, SplitConfig(val_fraction=0.5, val_from="test"), 7, seen=True)
    assert np.array_equal(split.val, plain.val[1:])
    assert np.array_equal(split.test, np.sort([*plain.train, plain.val[0]]))
    auto = split_data(data, SplitConfig(val_fraction=0.5), 7, seen=True)  # one class is down to nine for val
    assert auto.val_from == "train" and "has 9 in val and 11 in test" in auto.too_few


def test_a_class_without_test_images_is_no_obstacle() -> None:
    data = data_of(20)
    only_a = ImageData(data.x_train, data.y_train, data.x_test, np.zeros(40, dtype=np.int64), data.classes)
    assert split_data(only_a, SplitConfig(val_fraction=0.5), 0, seen=True).val_from == "test"


@pytest.mark.parametrize(("val_from", "said"), [("given", "got none"), ("test", "'a' has 0 in val and 1 in test")])
def test_val_that_cannot_be_had_is_refused(val_from: Any, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        split_data(data_of(1), SplitConfig(val_from=val_from), 0, seen=False)
    assert caught.value.hint == "val_images"
