"""Images that stay in their file: what is read is what lies there, and a training sees the same either way."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import seam.data.images
import seam.data.prepared
from seam.checkpoint import fingerprint
from seam.data.images import LabelledImages, images_of, redrawn
from seam.data.lazy import LazyImages, in_memory, joined, select
from seam.data.prepared import ImageData, load_prepared, save_prepared
from seam.data.splits import carve_val
from seam.data.statistics import channel_statistics
from seam.data.stored import StoredArray
from seam.errors import DataError
from seam.networks.predict import predict
from seam.networks.source import Preprocess
from seam.training.batches import training_batches

COUNT, SHAPE = 23, (8, 8, 3)


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (COUNT, *SHAPE), dtype=np.uint8)


@pytest.fixture
def stored(pixels: np.ndarray, tmp_path: Path) -> StoredArray:
    path = tmp_path / "images.raw"
    path.write_bytes(b"12345" + pixels.tobytes())
    return StoredArray(path, 5, pixels.shape)


@pytest.mark.parametrize(
    "rows",
    [
        3,
        -1,
        slice(2, 9),
        slice(1, 20, 4),
        slice(9, 2),
        np.array([5, 0, 5, -2]),
        np.arange(COUNT) % 3 == 0,
        np.array([], int),
    ],
    ids=str,
)
def test_is_indexed_as_an_array_in_memory(stored: StoredArray, pixels: np.ndarray, rows: object) -> None:
    wanted, found = pixels[rows], stored[rows]  # type: ignore[call-overload]
    assert found.shape == wanted.shape
    assert (found == wanted).all()


def test_rows_that_are_not_there(stored: StoredArray) -> None:
    with pytest.raises(IndexError, match=f"rows must be in -{COUNT}..{COUNT - 1}, got 0..{COUNT}"):
        stored[np.array([0, COUNT])]


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "short.raw"
    path.write_bytes(bytes(9))
    with pytest.raises(DataError, match="expected at least 12 bytes, got 9"):
        StoredArray(path, 0, (3, 2, 2))


def test_all_rows_in_pieces(stored: StoredArray, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seam.data.stored._PIECE", 5 * pixels[0].size)
    assert [len(piece) for piece in stored.pieces()] == [5, 5, 5, 5, 3]
    assert (np.stack(list(stored)) == pixels).all()


def lazy(stored: StoredArray) -> LazyImages:
    return LazyImages(stored, np.arange(len(stored)))


@pytest.mark.parametrize("augment", ["none", "crop", "crop_flip", "resized_crop_flip"])
def test_a_training_sees_the_same_batches(stored: StoredArray, pixels: np.ndarray, augment: str) -> None:
    labels = torch.arange(COUNT) % 2
    preprocess = Preprocess((0.5,) * 3, (0.25,) * 3)
    kinds = [LabelledImages(images, labels) for images in (torch.from_numpy(pixels), lazy(stored))]
    held, read = (list(training_batches(data, preprocess, 5, augment, 7, 3)) for data in kinds)
    assert len(held) == len(read) == 5
    for one, other in zip(held, read, strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_negatives_drawn_anew_are_the_same(stored: StoredArray, pixels: np.ndarray) -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    held = (
        LabelledImages(torch.from_numpy(pixels[:6]), labels),
        LabelledImages(torch.from_numpy(pixels[6:]), labels[:0]),
    )
    read = (
        LabelledImages(LazyImages(stored, np.arange(6)), labels),
        LabelledImages(LazyImages(stored, np.arange(6, COUNT)), labels[:0]),
    )
    epochs = [redrawn(*data).epoch(3, 2) for data in (held, read)]  # type: ignore[union-attr]
    assert isinstance(epochs[1].images, LazyImages)
    assert torch.equal(in_memory(epochs[0].images), in_memory(epochs[1].images))
    assert torch.equal(epochs[0].labels, epochs[1].labels)


def test_joined_images_keep_their_order(stored: StoredArray, pixels: np.ndarray) -> None:
    parts = [select(lazy(stored), torch.tensor(rows, dtype=torch.long)) for rows in ([4, 1], [], [7, 4, 0])]
    both = joined(parts)
    assert (in_memory(both).numpy() == pixels[[4, 1, 7, 4, 0]]).all()
    assert (both[torch.tensor([3, 0, 4])].numpy() == pixels[[4, 4, 0]]).all()


def test_fingerprints_tell_images_and_their_order(stored: StoredArray) -> None:
    images = lazy(stored)
    swapped = select(images, torch.tensor([1, 0, *range(2, COUNT)]))
    prints = {fingerprint(images), fingerprint(swapped), fingerprint(select(images, torch.arange(COUNT - 1)))}
    assert len(prints) == 3
    assert fingerprint(images) == fingerprint(lazy(stored))


def test_prepared_images_stay_in_their_file(
    pixels: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.arange(COUNT) % 4
    labels[0] = 0
    data = ImageData(pixels, labels, pixels[:9], labels[:9], ("a", "b", "c", "d"))
    save_prepared(data, tmp_path / "dataset.safetensors")
    held = load_prepared(tmp_path / "dataset.safetensors")
    limit = pixels[:9].nbytes
    for module in (seam.data.images, seam.data.prepared):
        monkeypatch.setattr(module, "IN_MEMORY", limit)
    read = load_prepared(tmp_path / "dataset.safetensors")
    assert isinstance(held.x_train, np.ndarray)
    assert isinstance(read.x_train, StoredArray)
    assert isinstance(read.x_test, np.ndarray), "as many bytes as are read whole"
    assert read.image_shape == SHAPE
    assert channel_statistics(read.x_train) == channel_statistics(pixels)
    rows = np.array([2, 11, 5, 9, 1, 0, 3, 4, 6, 7])
    many, few = images_of(read, "train", rows), images_of(read, "train", rows[:4])
    assert isinstance(many.images, LazyImages)
    assert isinstance(few.images, torch.Tensor)
    assert (in_memory(many.images).numpy() == pixels[rows]).all()
    for mine, theirs in zip(
        carve_val(held.x_train, labels, 0.3, 1), carve_val(read.x_train, labels, 0.3, 1), strict=True
    ):
        assert (mine == theirs).all()


def test_predictions_are_those_of_images_in_memory(stored: StoredArray, pixels: np.ndarray) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4)).eval()
    preprocess, labels = Preprocess((0.5,) * 3, (0.25,) * 3), torch.zeros(COUNT, dtype=torch.long)
    held, read = (
        predict(model, LabelledImages(images, labels), preprocess, 6)
        for images in (torch.from_numpy(pixels), lazy(stored))
    )
    assert torch.equal(held, read)
