"""`seam check` on a project: the network and the images that its parameters name, before anything is computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from flows.commands.check import show_check_up
from seam.data.formats import load
from seam.data.formats.listing import read_images
from seam.data.prepared import ImageData, save_prepared
from seam.errors import DataError

NETWORK = """
from torch import nn
def network(channels, num_classes):
    layers = nn.Conv2d(channels, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes)
    return nn.Sequential(*layers)
def fits(num_classes): return network(3, num_classes)
def grey(num_classes): return network(1, num_classes)
def odd(num_classes): return network(2, num_classes)
"""
PARAMS = """
data: {data}
problems: {{a: ["0"]}}
prepare_source: {{architecture: "net.py:{name}"}}
"""


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def made(root: Path, name: str, data: str) -> None:
    (root / "net.py").write_text(NETWORK)
    (root / "params.yaml").write_text(PARAMS.format(name=name, data=data))


def npz(path: Path, *shape: int) -> None:
    x, y = np.zeros((6, *shape), np.uint8), np.arange(6) % 3
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)


def folder(root: Path, *shape: int) -> None:
    for place in (f"{split}/{name}" for split in ("train", "test") for name in "012"):
        (root / place).mkdir(parents=True)
        for i in range(40):
            Image.fromarray(np.full(shape, 6 * i, np.uint8)).save(root / place / f"{i}.png")


def found(root: Path, status: int) -> str:
    before, console = sorted(root.rglob("*")), Console(record=True, width=200)
    assert show_check_up(root, console) == status
    assert [path for path in sorted(root.rglob("*")) if "__pycache__" not in path.parts] == before
    return " ".join(console.export_text().split())


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [("fits", 0, "3 logits"), ("grey", 0, "1 channels"), ("odd", 1, "3 channels, got one of 2; give images of 2")],
)
def test_says_what_it_found(name: str, status: int, words: str, tmp_path: Path) -> None:
    made(tmp_path, name, "{kind: npz, path: data.npz}")
    npz(tmp_path / "data.npz", 8, 8)
    assert words in found(tmp_path, status)


@pytest.mark.parametrize(
    ("name", "shape", "status", "words"),
    [
        ("fits", (12, 10, 3), 0, "images of 12 x 10 pixels, 3 channels"),
        ("fits", (12, 10), 0, "images of 12 x 10 pixels, 3 channels"),
        ("grey", (12, 10), 0, "images of 12 x 10 pixels, 1 channels"),
        ("grey", (12, 10, 3), 1, "expected a network that takes images of 3 channels, got one of 1"),
        ("fits", (2, 2, 3), 1, "does not take images of 2 x 2 pixels"),
    ],
)
def test_size_and_channels_are_those_of_the_images(
    name: str, shape: tuple[int, ...], status: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, name, "{kind: image_folder, path: shop}")
    folder(tmp_path / "shop", *shape)
    read: list[int] = []
    monkeypatch.setattr(load, "read_images", lambda of, *a: (read.append(len(of.images)), read_images(of, *a))[1])
    assert words in found(tmp_path, status)
    assert read == [64], "of 240 images a few are decoded"


def test_images_of_several_sizes_need_one_to_be_brought_to(tmp_path: Path) -> None:
    folder(tmp_path / "shop", 12, 10, 3)
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "shop/train/0/0.png")
    made(tmp_path, "fits", "{kind: image_folder, path: shop}")
    with pytest.raises(DataError, match=r"expected images of one size, got .*; set data\.image_size\.$"):
        show_check_up(tmp_path, Console())
    made(tmp_path, "fits", "{kind: image_folder, path: shop, image_size: 16}")
    assert "images of 16 x 16 pixels, 3 channels" in found(tmp_path, 0)


def test_prepared_images_stand_for_a_data_set_that_is_not_there(tmp_path: Path) -> None:
    made(tmp_path, "fits", "{kind: npz, path: data.npz}")
    x, y = np.zeros((6, 9, 7, 3), np.uint8), np.arange(6) % 3
    prepared = tmp_path / "artifacts/validate_data/dataset.safetensors"
    save_prepared(ImageData(x, y, x, y, ("0", "1", "2")), prepared)
    assert "images of 9 x 7 pixels" in found(tmp_path, 0)
    npz(tmp_path / "data.npz", 8, 8)  # the parameters name it: what was prepared may be of another
    assert "images of 8 x 8 pixels" in found(tmp_path, 0)
