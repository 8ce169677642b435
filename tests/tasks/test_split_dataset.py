"""The stage split_dataset: who is where, and that no image is in two splits."""

from __future__ import annotations

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
from tasks.project.params import Params
from tasks.project.stage import StageContext
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
        check_no_leak(problem, data_set(), splits)


def test_validation_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="validate_data"):
        split_dataset(
            StageContext("split_dataset", Params(problems={"p": ("dog",)}), tmp_path, Subject("problem", "p"))
        )
