"""Decoding by several cores, and the file of prepared images."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

from seam.data import pictures
from seam.data.formats import listing
from seam.data.formats.load import load_raw
from seam.data.prepared import ImageData, save_prepared
from seam.data.resize import resize_and_crop
from tests.seam.data.published import SIZE, jpeg


def test_full_size_images_are_never_held_together(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(40):
        for split in ("train", "test"):
            jpeg(root / split / "cat" / f"{i:02}.jpg", 4 * i + 10, size=(60, 90))
    decoded: list[weakref.ref[Any]] = []
    alive: list[int] = []

    def decode(image: Image.Image) -> Any:
        pixels = pictures.decode(image)
        decoded.append(weakref.ref(pixels))
        alive.append(sum(ref() is not None for ref in decoded))
        return pixels

    monkeypatch.setattr(listing, "decode", decode)
    monkeypatch.setattr(listing, "cores", lambda: 3)
    data = load_raw("image_folder", root, SIZE)
    assert len(decoded) == 80
    assert max(alive) <= 3
    assert all(i.pixels is not None and i.pixels.base is None for i in data.images), (
        "a view would keep the whole resized image"
    )


@pytest.mark.parametrize("image_size", [None, SIZE])
def test_an_image_folder_is_the_same_with_any_number_of_cores(
    root: Path, monkeypatch: pytest.MonkeyPatch, image_size: int | None
) -> None:
    for i, mode in enumerate(("L", "RGB", "CMYK", "L", "L", "RGB")):
        jpeg(root / ("test" if i > 3 else "train") / "cat" / f"{i}.jpg", 30 * i + 10, mode)
    (root / "train" / "cat" / "bad.jpg").write_bytes(b"no image")
    for cores in (1, 4):
        monkeypatch.setattr(listing, "cores", lambda cores=cores: cores)
        data = load_raw("image_folder", root, image_size)
        assert [Path(i.path).name for i in data.images] == [
            "0.jpg",
            "1.jpg",
            "2.jpg",
            "3.jpg",
            "bad.jpg",
            "4.jpg",
            "5.jpg",
        ]
        for image in data.images:
            if image.pixels is None:
                assert "cannot identify" in str(image.error)
            else:
                whole = np.asarray(Image.open(image.path).convert("RGB"))
                assert np.array_equal(image.pixels, whole if image_size is None else resize_and_crop(whole, image_size))


def test_a_prepared_file_is_what_safetensors_writes(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8), np.arange(6)
    data = ImageData(x[::-1], y, x[:2], y[:2], ("ä", "b"))
    path = tmp_path / "new" / "d.safetensors"
    save_prepared(data, path)
    content = {"x_train": x[::-1].copy(), "y_train": y, "x_test": x[:2], "y_test": y[:2]}
    assert path.read_bytes() == save(content, metadata={"classes": '["\\u00e4", "b"]'})
    assert [p.name for p in path.parent.iterdir()] == ["d.safetensors"]
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode
