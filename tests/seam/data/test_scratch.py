"""Data sets that need not fit in memory: what is read, put together and written is as if they did."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

import seam.data.prepared
from seam.data.formats.load import load_raw
from seam.data.prepared import ImageData, load_prepared, save_prepared
from seam.data.scratch import Scratch, Spilled, together
from seam.data.stored import StoredArray
from seam.errors import DataError


def pixels(count: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 6, 5, channels), dtype=np.uint8)


def test_images_come_back_as_they_were_put(tmp_path: Path) -> None:
    images, gray, scratch = pixels(4), pixels(3, 1), Scratch(tmp_path)
    spilled = [scratch.put(image) for image in (*images, *gray)]
    for found, wanted in zip(spilled, (*images, *gray), strict=True):
        assert np.array_equal(found.read(), wanted)
    assert np.array_equal(spilled[5].in_colour().read(), gray[1].repeat(3, axis=2))
    assert list(tmp_path.iterdir()) == [], "the file has no name, so a kill leaves nothing"


def test_images_side_by_side_are_one_array_and_others_are_brought_together() -> None:
    images, scratch = pixels(5), Scratch()
    spilled = [scratch.put(image) for image in images]
    size = images[0].size
    found = together(spilled[1:4])
    assert found._offset == size, "no copy"
    assert np.array_equal(found[:], images[1:4])
    assert np.array_equal(together([spilled[i] for i in (4, 0, 2)])[:], images[[4, 0, 2]])
    assert np.array_equal(together([images[0], spilled[3]])[:], images[[0, 3]])
    gray = [scratch.put(image).in_colour() for image in pixels(2, 1)]
    assert np.array_equal(together(gray)[:], pixels(2, 1).repeat(3, axis=3))


@pytest.mark.parametrize("in_file", [False, True])
def test_the_file_of_a_data_set_is_that_of_its_own_library(in_file: bool, tmp_path: Path) -> None:
    scratch, x = Scratch(), {"train": pixels(7), "test": pixels(3), "val": pixels(2)}
    y = {split: np.arange(len(images)) % 2 for split, images in x.items()}
    given = {s: together([scratch.put(i) for i in images]) if in_file else images for s, images in x.items()}
    data = ImageData(given["train"], y["train"], given["test"], y["test"], ("ä", 'b"'), given["val"], y["val"])
    save_prepared(data, tmp_path / "ours.safetensors")
    arrays = {f"{kind}_{split}": of[split] for kind, of in (("x", x), ("y", y)) for split in x}
    save_file(arrays, tmp_path / "theirs.safetensors", metadata={"classes": '["\\u00e4", "b\\""]'})
    assert (tmp_path / "ours.safetensors").read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()
    assert all(np.array_equal(load_file(tmp_path / "ours.safetensors")[k], v) for k, v in arrays.items())


def test_a_data_set_that_is_written_in_pieces_is_read_from_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seam.data.prepared, "IN_MEMORY", 0)
    monkeypatch.setattr("seam.data.stored._PIECE", 100)
    x, y = pixels(9), np.arange(9)
    save_prepared(ImageData(x, y, x[:4], y[:4], tuple("abcdefghi")), tmp_path / "d.safetensors")
    found = load_prepared(tmp_path / "d.safetensors")
    assert isinstance(found.x_train, StoredArray)
    save_prepared(found, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "d.safetensors").read_bytes()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_images_of_an_npz_are_read_piece_by_piece(
    save: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seam.data.formats.npz._PIECE", 64)
    x, y = pixels(8), np.arange(8) % 2
    path = tmp_path / "data.npz"
    save(path, x_train=x, y_train=y, x_test=np.asfortranarray(x[:3]), y_test=y[:3])  # type: ignore[operator]
    found = load_raw("npz", path).images
    assert all(isinstance(image.kept, Spilled) for image in found)
    assert np.array_equal(np.stack([image.pixels for image in found]), np.concatenate([x, x[:3]]))


def test_an_npz_whose_images_end_too_early_is_refused(tmp_path: Path) -> None:
    import zipfile

    path, cut = tmp_path / "data.npz", tmp_path / "cut.npz"
    x, y = pixels(8), np.arange(8) % 2
    np.savez(path, x_train=x, y_train=y, x_test=x[:3], y_test=y[:3])
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(cut, "w") as made:
        for name in whole.namelist():
            content = whole.read(name)
            made.writestr(name, content[:-5] if name == "x_train.npy" else content)
    with pytest.raises(DataError, match=r"cut.npz\[x_train\]: expected a plain array, got damaged bytes \(5 bytes"):
        load_raw("npz", cut)


def test_a_damaged_header_of_an_npz_is_not_quoted_at_length(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    x, y = pixels(300), np.arange(300) % 2
    np.savez(path, x_train=x, y_train=y, x_test=x[:3], y_test=y[:3])
    content = bytearray(path.read_bytes())
    content[26:28] = (4000).to_bytes(2, "little")  # the length of the first array's name
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"data.npz\[x_train\]: expected a plain array, got damaged bytes") as e:
        load_raw("npz", path)
    assert len(str(e.value)) < 500 and str(e.value).endswith("save it again as uint8 (images) or int64 (labels).")


def test_the_images_of_a_folder_are_as_they_are_in_its_files(tmp_path: Path) -> None:
    x, y = pixels(6), np.arange(6) % 2
    for split in ("train", "test"):
        for i, image in enumerate(x):
            place = tmp_path / split / "ab"[y[i]]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image if i else image[..., 0]).save(place / f"{i}.png")
    found = load_raw("image_folder", tmp_path).images
    wanted = [x[i] if i else x[0][..., :1].repeat(3, axis=2) for i in (0, 2, 4, 1, 3, 5)]
    assert np.array_equal(np.stack([image.pixels for image in found]), np.stack([*wanted, *wanted]))
    assert {image.mode for image in found} == {"RGB"}
