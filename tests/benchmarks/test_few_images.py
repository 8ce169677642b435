"""benchmarks/few_images.py: which images of which classes stay."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from seam.data.prepared import ImageData
from seam.errors import DataError

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import few_images


def numbered(labels: list[int], first: int) -> np.ndarray:
    """An image a label, of one pixel whose value is its number."""
    return np.arange(first, first + len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)


TRAIN, TEST = [0, 1, 2, 2, 0, 1, 2], [2, 0, 1, 2]
DATA = ImageData(numbered(TRAIN, 0), np.array(TRAIN), numbered(TEST, 100), np.array(TEST), ("ant", "bee", "cat"))


def test_the_first_images_of_each_class_and_all_test_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = few_images.few(DATA, ["cat", "ant"], 2)
    assert arrays["x_train"].ravel().tolist() == [2, 3, 0, 4] and arrays["y_train"].tolist() == [0, 0, 1, 1]
    assert arrays["x_test"].ravel().tolist() == [100, 103, 101] and arrays["y_test"].tolist() == [0, 0, 1]
    assert arrays["classes"].tolist() == ["cat", "ant"]
    whole = {"x_train": DATA.x_train, "y_train": DATA.y_train, "x_test": DATA.x_test, "y_test": DATA.y_test}
    np.savez(tmp_path / "whole.npz", classes=np.array(DATA.classes), **whole)
    command = f"few --data {tmp_path}/whole.npz --classes cat,ant --images 2 --output {tmp_path}/few.npz"
    monkeypatch.setattr(sys, "argv", command.split())
    few_images.main()
    assert capsys.readouterr().out.endswith("few.npz: 4 to train on, 3 to test on\n")
    with np.load(tmp_path / "few.npz") as written:
        assert all((written[name] == values).all() for name, values in arrays.items())


@pytest.mark.parametrize(
    ("classes", "images", "message"),
    [
        (["dog"], 1, "--classes: expected some of ant, bee, cat, got 'dog'"),
        (["cat", "ant"], 3, "--images 3: expected so many training images of 'ant', got 2"),
    ],
)
def test_what_is_not_there_is_one_clear_line(classes: list[str], images: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        few_images.few(DATA, classes, images)
