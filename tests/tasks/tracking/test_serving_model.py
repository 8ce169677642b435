"""The served model by itself: shapes in, names and probabilities out, one clear line for anything else."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from seam.inference.export import export_serving_onnx
from tasks.tracking import serving_model
from tasks.tracking.serving_model import SeamClassifier, resize_and_crop


class Brightness(nn.Module):
    """Logits (mean, 1 - mean) of the pixels in [0, 1]: bright images are class 0."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        mean = images.float().mean((1, 2, 3)) / 255
        return torch.stack([mean, 1 - mean], 1)


def make(folder: Path, shape: tuple[int, int, int], image_size: int | None = None) -> SeamClassifier:
    export_serving_onnx(Brightness(), nn.Identity(), shape, folder / "model.onnx")
    (folder / "classes.json").write_text(
        json.dumps({"classes": ["bright", "dark"], "image_shape": shape, "image_size": image_size})
    )
    model = SeamClassifier()
    model.load_context(
        SimpleNamespace(artifacts={"network": str(folder / "model.onnx"), "classes": str(folder / "classes.json")})
    )
    return model


def predict(model: SeamClassifier, images: np.ndarray) -> Any:
    return model.predict(None, images)


@pytest.fixture
def gray(tmp_path: Path) -> SeamClassifier:
    return make(tmp_path, (4, 4, 1))


def test_names_and_probabilities(gray: SeamClassifier) -> None:
    images = np.stack([np.full((4, 4, 1), 255, np.uint8), np.zeros((4, 4, 1), np.uint8)])
    answer = predict(gray, images)
    assert list(answer["class"]) == ["bright", "dark"]
    expected = float(np.exp(1) / (np.exp(1) + 1))  # softmax of (1, 0)
    assert answer["probability"].tolist() == pytest.approx([expected, expected], abs=1e-5)
    assert answer["probabilities"][0] == pytest.approx({"bright": expected, "dark": 1 - expected}, abs=1e-5)


def test_whoever_loads_it_is_told_nothing() -> None:
    done = subprocess.run([sys.executable, serving_model.__file__], capture_output=True, text=True, check=True)
    assert done.stderr == ""


@pytest.mark.parametrize("count", [0, 1, 2, 7, serving_model.MAX_BATCH + 1])
def test_any_batch_size(gray: SeamClassifier, count: int) -> None:
    assert len(predict(gray, np.zeros((count, 4, 4, 1), np.uint8))) == count


@pytest.mark.parametrize(("shape", "count"), [((4, 4, 1), 1), ((4, 4), 1), ((3, 4, 4), 3)])
def test_one_image_and_grey_without_channels(gray: SeamClassifier, shape: tuple[int, ...], count: int) -> None:
    assert len(predict(gray, np.zeros(shape, np.uint8))) == count


def test_one_colour_image(tmp_path: Path) -> None:
    assert len(predict(make(tmp_path, (4, 4, 3)), np.zeros((4, 4, 3), np.uint8))) == 1


@pytest.mark.parametrize(
    ("images", "text"),
    [
        (np.zeros((2, 4, 4, 1), np.float32), "got dtype float32; pass the pixels as they come from disk"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"got shape \(2, 4, 4, 3\); check the order of the axes"),
        (np.zeros((2, 1, 4, 4), np.uint8), r"got shape \(2, 1, 4, 4\); check the order of the axes"),
        (np.zeros((2, 5, 4, 1), np.uint8), "made for images of exactly 4 x 4 pixels"),
        (np.zeros(4, np.uint8), r"got shape \(4,\)"),
    ],
)
def test_anything_else_is_one_clear_line(gray: SeamClassifier, images: np.ndarray, text: str) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        predict(gray, images)
    assert "\n" not in str(caught.value)


def test_other_sizes_are_resized_where_the_data_was(tmp_path: Path) -> None:
    model = make(tmp_path, (4, 4, 1), image_size=4)
    assert list(predict(model, np.full((2, 8, 12, 1), 255, np.uint8))["class"]) == ["bright", "bright"]


def test_resize_short_side_and_crop_the_centre() -> None:
    image = np.zeros((4, 12, 3), np.uint8)
    image[:, 4:8] = 200
    assert (resize_and_crop(image, 4) == 200).all()
    assert resize_and_crop(np.zeros((10, 20, 1), np.uint8), 5).shape == (5, 5, 1)


def test_without_pillow_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(tmp_path, (4, 4, 1), image_size=4)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ValueError, match="install Pillow"):
        predict(model, np.zeros((1, 8, 8, 1), np.uint8))


def test_it_imports_nothing_of_this_project() -> None:
    tree = ast.parse(Path(serving_model.__file__).read_text())
    modules = {n.name for node in ast.walk(tree) if isinstance(node, ast.Import) for n in node.names}
    modules |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    allowed = {*sys.stdlib_module_names, "numpy", "pandas", "mlflow", "onnxruntime", "PIL"}
    assert {m.partition(".")[0] for m in modules} <= allowed
