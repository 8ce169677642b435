"""The split that problems and source share, the file of a split, and the images that are read by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seam.data.prepared import ImageData, load_prepared, save_prepared
from tasks.inputs.problem import problem_images
from tasks.inputs.splits import problem_split, read_split, split_bytes
from tasks.inputs.target import target_split
from tasks.project.params import Params, parse_params
from tasks.project.stage import StageContext
from tasks.project.subject import Subject
from tasks.split_dataset import split_dataset
from tests.tasks.transfer_project import context_of


def data_of(own: int = 3) -> ImageData:
    """Each image has its own brightness: train from 0, test from 100, val (`own` images a class) from 200."""
    train, test, val = (np.arange(n, dtype=np.int64) for n in (12, 8, 2 * own))
    images = [
        np.full((len(rows), 2, 2, 1), start, np.uint8) + rows.astype(np.uint8)[:, None, None, None]
        for rows, start in ((train, 0), (test, 100), (val, 200))
    ]
    given: dict[str, Any] = {"x_val": images[2], "y_val": val % 2} if own else {}
    return ImageData(images[0], train % 2, images[1], test % 2, ("a", "b"), **given)


def params_of(val_from: str = "auto", checkpoint: str | None = None) -> Params:
    values = {"split_dataset": {"val_from": val_from}, "prepare_source": {"checkpoint": checkpoint}}
    return parse_params({"problems": {"p": ["all"]}, **values}, "test")


def test_val_images_outlive_the_file(tmp_path: Path) -> None:
    data = data_of()
    for name, content in {"with": data, "without": data_of(own=0)}.items():
        save_prepared(content, tmp_path / name)
        found = load_prepared(tmp_path / name)
        assert found.has_val == content.has_val == (name == "with")
    images, labels = load_prepared(tmp_path / "with").given("val")
    assert np.array_equal(images, data.given("val")[0]) and labels.tolist() == [0, 1] * 3


@pytest.mark.parametrize("val_from", ["train", "test", "given"])
def test_the_file_of_a_split_says_what_val_indexes(tmp_path: Path, val_from: Any) -> None:
    (tmp_path / "s").write_bytes(split_bytes({"val": np.array([4, 7])}, val_from))
    rows, found = read_split(tmp_path / "s")
    assert (found, rows["val"].tolist()) == (val_from, [4, 7])


@pytest.mark.parametrize(("val_from", "first"), [("train", 0), ("test", 100), ("given", 200)])
def test_images_are_read_from_where_they_lie_and_no_val_image_is_test(
    tmp_path: Path, val_from: str, first: int
) -> None:
    context = StageContext("split_dataset", params_of(val_from), tmp_path, Subject("problem", "p"))
    save_prepared(data_of(), context.artifact("validate_data", "dataset.safetensors"))
    split_dataset(context)
    shades: dict[str, set[int]] = {}
    for split in ("train", "val", "test"):
        found = problem_images(context, split)  # type: ignore[arg-type]
        shades[split] = {int(image[0, 0, 0]) for image in found.images}
        assert all(int(image[0, 0, 0]) % 2 == label for image, label in zip(found.images, found.labels, strict=True))
    assert all(first <= shade < first + 100 for shade in shades["val"])
    assert not shades["val"] & (shades["train"] | shades["test"])
    assert len(shades["val"]) == {"train": 2, "test": 2, "given": 6}[val_from]
    assert shades["test"] | (shades["val"] if val_from == "test" else set()) == set(range(100, 108))


def test_a_given_network_is_what_makes_the_training_images_suspect() -> None:
    few = data_of(own=0)
    assert problem_split(params_of(), few).too_few == ""  # nothing but train was thought of
    assert "'a' has 1 in val and 3 in test" in problem_split(params_of(checkpoint="w.pt"), few).too_few
    assert problem_split(params_of(checkpoint="w.pt"), data_of()).val_from == "given"


@pytest.mark.parametrize(
    ("own", "asked", "val_from"),
    [
        (0, "auto", "train"),
        (0, "test", "train"),
        (0, "given", "train"),
        (3, "auto", "given"),
        (3, "given", "given"),
        (3, "train", "train"),
    ],
)
def test_a_target_has_its_own_val_images_or_some_of_its_training_images(own: int, asked: str, val_from: str) -> None:
    split = target_split(context_of(Path(), "attack_target", split_dataset={"val_from": asked}), data_of(own))
    assert split.val_from == val_from
    assert len(split.test) == 8
    assert (len(split.train), len(split.val)) == ((12, 6) if val_from == "given" else (10, 2))
