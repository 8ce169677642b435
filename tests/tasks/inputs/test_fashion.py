"""The default data out of either form of its original; what is not the original is one line."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from seam.data.formats.load import load_raw
from seam.data.prepared import ImageData
from seam.errors import DataError
from tasks.inputs import fashion
from tasks.inputs.fashion import CLASSES, build_fashion
from tasks.inputs.manifest import assemble

PER_CLASS = {"train": 7, "t10k": 3}
"""Images of each class in the original, more than are kept."""


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, count in (("TRAIN", 4), ("HELD_OUT", 2), ("TEST", 2)):
        monkeypatch.setattr(fashion, name, count)


def made(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images of 2 x 3 pixels in an order of its own, each with its number in the first two pixels."""
    count = PER_CLASS[split] * len(CLASSES)
    labels = np.random.default_rng(len(split)).permutation(np.arange(count) % len(CLASSES)).astype(np.uint8)
    images = np.zeros((count, 2, 3), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.arange(count), 1 if split == "train" else 2
    return images, labels


def idx(array: np.ndarray) -> bytes:
    """As MNIST's files are written."""
    sizes = b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


@pytest.fixture
def original(tmp_path: Path) -> Path:
    folder = tmp_path / "original"
    folder.mkdir()
    for split in PER_CLASS:
        images, labels = made(split)
        (folder / f"{split}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(idx(labels))
    return folder


def read(path: Path) -> ImageData:
    return assemble(load_raw("safetensors", path))


def test_test_has_what_is_not_in_train_in_the_originals_order(original: Path, tmp_path: Path) -> None:
    data = read(build_fashion(original, tmp_path / "data"))
    labels, tested = made("train")[1], made("t10k")[1]
    places = [[i for i, label in enumerate(labels) if label == c] for c in range(len(CLASSES))]
    assert data.x_train[:][:, 0, 0, 0].tolist() == sorted(i for rows in places for i in rows[:4])
    held_out = sorted(i for rows in places for i in rows[4:6])
    places = [[i for i, label in enumerate(tested) if label == c] for c in range(len(CLASSES))]
    expected = [(i, 1) for i in held_out] + [(i, 2) for i in sorted(i for rows in places for i in rows[:2])]
    assert [tuple(pixels) for pixels in data.x_test[:][:, 0, :2, 0].tolist()] == expected
    assert data.y_train.tolist() == [labels[i] for i in data.x_train[:][:, 0, 0, 0]]
    assert np.bincount(data.y_test).tolist() == [4] * len(CLASSES)
    assert data.classes == CLASSES


def test_the_other_form_gives_the_same_bytes(original: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    arrays = dict(zip(("x_train", "y_train", "x_test", "y_test"), (*made("train"), *made("t10k")), strict=True))
    np.savez_compressed(other / "all.npz", **arrays)
    files = [build_fashion(folder, tmp_path / name) for name, folder in (("one", original), ("two", other))]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert "MIT License" in (tmp_path / "one" / "LICENSE").read_text()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t10k-labels-idx1-ubyte", None, "expected t10k-labels-idx1-ubyte.gz"),
        ("t10k-labels-idx1-ubyte", b"", "t10k-labels-idx1-ubyte: expected a whole file"),
        ("t10k-labels-idx1-ubyte", idx(np.zeros(30, np.uint8))[:-1], "t10k-labels-idx1-ubyte: expected a whole file"),
        ("t10k-images-idx3-ubyte.gz", b"\x1f\x8b no", "t10k-images-idx3-ubyte.gz: expected a file of Fashion-MNIST"),
        ("t10k-labels-idx1-ubyte", idx(np.zeros(30, np.uint8)), "expected 2 or more images of every class, 'trouser'"),
    ],
)
def test_what_is_not_the_original_is_one_line(
    original: Path, tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    (original / name).unlink() if content is None else (original / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        build_fashion(original, tmp_path / "data")
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "data").exists()
