"""An orientation that a camera noted: ignored or applied, as told; Pillow's own function is the truth."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from seam.data.doubts import doubt_images
from seam.data.formats.load import load_raw, read_some
from seam.data.raw import RawImage
from tests.seam.data.pictures import noise


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split, seed in (("train", 1), ("test", 2)):
        (tmp_path / split / "cat").mkdir(parents=True)
        noise(seed).save(tmp_path / split / "cat/0.png")
    return tmp_path


def noted(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


def read(path: Path, how: Any) -> tuple[RawImage, int]:
    """The image, and how many doubts there are about its data set."""
    data = load_raw("image_folder", path.parents[2], exif=how)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        doubt_images(data, None)
    (image,) = (image for image in data.images if image.path == str(path))
    return image, len(caught)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_it_is_applied_if_told(orientation: int, suffix: str, folder: Path) -> None:
    path = folder / "train/cat" / f"x.{suffix}"
    noise(3, 12, 8).save(path, exif=noted(orientation))
    ignored, doubts = read(path, "ignore")
    assert np.array_equal(ignored.pixels, np.array(Image.open(path))) and doubts == (orientation != 1)
    assert (ignored.is_turned, ignored.is_upright) == (orientation != 1, False)
    applied, doubts = read(path, "apply")
    assert np.array_equal(applied.pixels, np.array(ImageOps.exif_transpose(Image.open(path)))) and doubts == 0
    assert (applied.is_turned, applied.is_upright) == (orientation != 1,) * 2
    assert applied.size == applied.pixels.shape[:2]


def test_one_that_pillow_applies_itself_is_not_applied_twice(folder: Path) -> None:
    path = folder / "train/cat/x.tiff"
    noise(3, 12, 8).save(path, tiffinfo={ExifTags.Base.Orientation: 6})
    for how in ("ignore", "apply"):
        assert np.array_equal(read(path, how)[0].pixels, np.rot90(np.array(noise(3, 12, 8)), -1))


@pytest.mark.parametrize("note", [b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\0\xff"])
def test_a_damaged_note_is_none(note: bytes, folder: Path) -> None:
    path = folder / "train/cat/x.jpg"
    noise(3, 12, 8).save(path, exif=note)
    image, doubts = read(path, "apply")
    assert image.pixels is not None and image.pixels.shape == (8, 12, 3) and not image.is_turned and doubts == 0


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_a_number_that_is_none_is_upright(orientation: int, folder: Path) -> None:
    path = folder / "train/cat/x.jpg"
    noise(3, 12, 8).save(path, exif=noted(orientation))
    assert not read(path, "apply")[0].is_turned


def test_a_few_images_are_looked_at_as_all_are_read(folder: Path) -> None:
    noise(3).save(folder / "train/cat/x.png", exif=noted(6))
    (some,) = (i for i in read_some("image_folder", folder, exif="apply").images if i.path.endswith("x.png"))
    assert np.array_equal(some.pixels, np.rot90(np.array(noise(3)), -1))
