"""The stage split_dataset: who is where, and that no image is in two splits."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from seam.data.prepared import ImageData, save_prepared
from seam.data.problems import TargetProblem
from seam.data.splits import carve_val
from seam.errors import DataError
from tasks.inputs.splits import read_split
from tasks.project.params import Params, parse_params
from tasks.project.stage import StageContext, execute
from tasks.project.subject import Subject
from tasks.split_dataset import check_no_leak, split_dataset

CLASSES = ("cat", "dog", "eel")


def data_set(**changes: Any) -> ImageData:
    rng = np.random.default_rng(0)
    content: dict[str, Any] = {
        "x_train": rng.integers(0, 256, (30, 4, 4, 1), dtype=np.uint8),
        "y_train": np.arange(30) % 3,
        "x_test": rng.integers(0, 256, (12, 4, 4, 1), dtype=np.uint8),
        "y_test": np.arange(12) % 3,
        "classes": CLASSES,
    }
    return ImageData(**content | changes)


def context(root: Path, data: ImageData, *wanted: str) -> StageContext:
    save_prepared(data, root / "artifacts" / "validate_data" / "dataset.safetensors")
    return StageContext("split_dataset", Params(problems={"p": wanted}, seed=3), root, Subject("problem", "p"))


def given_context(root: Path, data: ImageData, *wanted: str, **split: Any) -> StageContext:
    """Of a project whose network is given."""
    values = {"problems": {"p": wanted}, "seed": 3, "split_dataset": split, "prepare_source": {"checkpoint": "w.pt"}}
    context(root, data, *wanted)
    return StageContext("split_dataset", parse_params(values, "test"), root, Subject("problem", "p"))


def enough_tests() -> ImageData:
    """50 test images of each class: ten of each, and no fewer, for val."""
    rng = np.random.default_rng(1)
    return data_set(x_test=rng.integers(0, 256, (150, 4, 4, 1), dtype=np.uint8), y_test=np.arange(150) % 3)


def failure(stage: StageContext) -> str:
    with pytest.raises(DataError) as caught:
        split_dataset(stage)
    assert not (stage.root / "artifacts" / "p").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_one_class_against_the_rest(tmp_path: Path) -> None:
    data = data_set()
    split_dataset(context(tmp_path, data, "dog"))
    out = tmp_path / "artifacts" / "p" / "split_dataset"
    arrays = load_file(out / "splits.safetensors")
    assert {a.dtype for a in arrays.values()} == {np.dtype(np.int64)}
    assert not set(arrays["train"]) & set(arrays["val"])
    for name, y in (("train", data.y_train), ("val", data.y_train), ("test", data.y_test)):
        assert np.array_equal(arrays[f"y_{name}"], (y[arrays[name]] != 1).astype(int))  # 0: dog, 1: other
    assert [len(arrays[n]) for n in ("train", "val", "test")] == [16, 4, 8]  # 8 + 8, 2 + 2, 4 + 4
    assert np.bincount(data.y_train[arrays["train"]]).tolist() == [4, 8, 4]  # negatives drawn evenly
    assert np.bincount(data.y_train[arrays["spare"]]).tolist() == [4, 0, 4]  # what the draw left over
    assert set(arrays["y_spare"]) == {1}
    assert not set(arrays["spare"]) & {*arrays["train"], *arrays["val"]}
    summary = json.loads((out / "summary.json").read_text())
    assert summary["classes"] == ["dog", "other"]
    assert summary["source_classes"] == list(CLASSES)
    assert summary["counts"]["val"] == {"dog": 2, "other": 2}
    assert summary["seed"] == 3


def test_superclass_and_all(tmp_path: Path) -> None:
    data = data_set()
    split_dataset(context(tmp_path, data, "eel", "cat"))
    arrays = load_file(tmp_path / "artifacts" / "p" / "split_dataset" / "splits.safetensors")
    assert np.array_equal(arrays["y_test"], [0, 1] * 4)
    assert np.array_equal(data.y_test[arrays["test"]], [0, 2] * 4)
    assert len(arrays["spare"]) == 0
    split_dataset(context(tmp_path, data, "all"))
    arrays = load_file(tmp_path / "artifacts" / "p" / "split_dataset" / "splits.safetensors")
    assert sorted([*arrays["train"], *arrays["val"]]) == list(range(30))
    assert len(arrays["test"]) == 12


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    stage = context(tmp_path, data_set(), "dog")
    split_dataset(stage)
    file = stage.artifact("split_dataset", "splits.safetensors")
    before = file.read_bytes()
    split_dataset(stage)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("wanted", "digest"),
    [
        ("dog", "f349320f7c42fd1c01fee909095658b17befa40cbd9a49bf9c6249602cba6b0e"),
        ("all", "7f7be0bf8b8883b3a21aa58a88701714de8e9709fde7bc0c29aef2424e74290f"),
    ],
)
def test_the_split_of_a_source_trained_here_is_what_it_always_was(tmp_path: Path, wanted: str, digest: str) -> None:
    stage = context(tmp_path, data_set(), wanted)
    split_dataset(stage)
    assert hashlib.sha256(stage.artifact("split_dataset", "splits.safetensors").read_bytes()).hexdigest() == digest
    summary = json.loads(stage.artifact("split_dataset", "summary.json").read_text())
    assert (summary["val_from"], summary["warnings"]) == ("train", [])


def test_with_a_given_network_val_is_of_the_test_images(tmp_path: Path) -> None:
    data = enough_tests()
    stage = given_context(tmp_path, data, "dog")
    split_dataset(stage)
    rows, val_from = read_split(stage.artifact("split_dataset", "splits.safetensors"))
    assert val_from == "test"
    assert np.array_equal(rows["y_val"], (data.y_test[rows["val"]] != 1).astype(int))
    assert not set(rows["val"]) & set(rows["test"])
    assert [len(rows[name]) for name in ("train", "spare", "val", "test")] == [
        20,
        10,
        20,
        80,
    ]  # 10 + 10 of 10 + 20, ...
    summary = json.loads(stage.artifact("split_dataset", "summary.json").read_text())
    assert (summary["val_from"], summary["num_val"], summary["num_test"]) == ("test", 20, 80)
    assert summary["warnings"] == []


def test_a_given_network_that_may_have_learnt_val_is_a_named_doubt(tmp_path: Path) -> None:
    stage = given_context(tmp_path, data_set(), "dog")
    split_dataset(stage)
    rows, val_from = read_split(stage.artifact("split_dataset", "splits.safetensors"))
    assert (val_from, len(rows["test"])) == ("train", 8)
    (doubt,) = json.loads(stage.artifact("split_dataset", "summary.json").read_text())["warnings"]
    assert "carved out of the training images" in doubt
    assert "10 or more images of every class in val and in test, 'cat' has 1 in val and 3 in test" in doubt
    assert doubt.endswith("or set split_dataset.val_from to test.")
    asked = given_context(tmp_path, enough_tests(), "dog", val_from="train")
    split_dataset(asked)
    (doubt,) = json.loads(asked.artifact("split_dataset", "summary.json").read_text())["warnings"]
    assert "may have been trained on" in doubt and "or more" not in doubt


def test_given_val_images_are_val_and_all_others_train_or_test(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    own = {"x_val": rng.integers(0, 256, (9, 4, 4, 1), dtype=np.uint8), "y_val": np.array([2, 1, 0] * 3)}
    stage = context(tmp_path, data_set(**own), "eel", "cat")
    split_dataset(stage)
    rows, val_from = read_split(stage.artifact("split_dataset", "splits.safetensors"))
    assert val_from == "given"
    assert (rows["val"].tolist(), rows["y_val"].tolist()) == ([0, 2, 3, 5, 6, 8], [1, 0] * 3)  # cat 0, eel 1
    assert [len(rows[name]) for name in ("train", "test")] == [20, 8]
    own["y_val"][:] = 1
    message = failure(context(tmp_path / "none", data_set(**own), "eel", "cat"))
    assert message.endswith("expected images of every class in val, none of: cat, eel; add images.")


@pytest.mark.parametrize(
    ("val_from", "said"),
    [
        (
            "given",
            "expected images for val in the data set, got none; give images for val (val/<class>/* in the folder",
        ),
        (
            "test",
            "val is to be carved out of test: expected 1 or more images of every class in val and in test, 'dog' has 0"
            " in val and 1 in test; give images for val",
        ),
    ],
)
def test_no_images_for_val_where_they_are_asked_for(tmp_path: Path, val_from: str, said: str) -> None:
    stage = given_context(tmp_path, data_set(y_test=np.array([0] * 11 + [1])), "dog", val_from=val_from)
    with pytest.raises(DataError) as caught:
        execute(split_dataset, stage)
    assert said in str(caught.value)
    assert str(caught.value).endswith("or set split_dataset.val_from to train.")


def test_unknown_class(tmp_path: Path) -> None:
    assert "unknown class 'dgo'" in failure(context(tmp_path, data_set(), "dgo"))


def test_empty_class_in_a_split(tmp_path: Path) -> None:
    message = failure(context(tmp_path, data_set(y_test=np.zeros(12, int)), "dog"))
    assert "every class in test" in message
    assert "dog" in message
    one_dog = np.where(np.arange(30) == 1, 1, 0)
    assert "every class in val, none of: dog" in failure(context(tmp_path, data_set(y_train=one_dog), "dog"))


def test_stage_keeps_copies_together(tmp_path: Path) -> None:
    data = data_set()
    carved = carve_val(data.x_train, data.y_train, 0.2, 3)
    in_val, in_train = carved.val[0], carved.train[0]
    data.x_train[in_val] = data.x_train[in_train]
    split_dataset(context(tmp_path, data, "all"))
    arrays = load_file(tmp_path / "artifacts" / "p" / "split_dataset" / "splits.safetensors")
    assert in_val in arrays["train"]
    assert in_val not in arrays["val"]
    assert len(arrays["val"]) == len(carved.val) - 1


def test_image_in_train_and_test_is_refused(tmp_path: Path) -> None:
    data = data_set()
    data.x_test[4] = data.x_train[7]
    message = failure(context(tmp_path, data, "dog"))
    assert "image 7 of the data set's train" in message
    assert "image 4 of its test (test)" in message


def test_leak_check_sees_a_planted_index() -> None:
    problem = TargetProblem.of("p", ["all"], CLASSES)
    splits = {"train": np.array([0, 1]), "spare": np.array([2]), "val": np.array([3, 2]), "test": np.array([0])}
    with pytest.raises(DataError, match=r"image 2 of the data set's train \(train\) and image 2 of its train \(val\)"):
        check_no_leak(problem, data_set(), splits, "train")


def test_leak_check_sees_an_image_in_val_and_what_it_was_carved_out_of() -> None:
    problem = TargetProblem.of("p", ["all"], CLASSES)
    splits = {"train": np.array([0, 1]), "spare": np.array([2]), "val": np.array([3, 2]), "test": np.array([0, 3])}
    with pytest.raises(DataError, match=r"image 3 of the data set's test \(val\) and image 3 of its test \(test\)"):
        check_no_leak(problem, data_set(), splits, "test")
    data = data_set(x_val=data_set().x_train[[5, 9, 9, 9]], y_val=np.array([2, 0, 0, 0]))
    splits["spare"] = np.array([9])
    with pytest.raises(DataError, match=r"image 9 of the data set's train \(train\) and image 3 of its val \(val\)"):
        check_no_leak(problem, data, splits, "given")


def test_validation_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="validate_data"):
        split_dataset(
            StageContext("split_dataset", Params(problems={"p": ("dog",)}), tmp_path, Subject("problem", "p"))
        )
