"""Image folders as they come from Windows, macOS and other tools, and what is doubtful in them."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from seam.data.doubts import doubt_images
from seam.data.formats.image_folder import VAL_FOLDERS
from seam.data.formats.load import class_names, load_raw
from seam.data.raw import RawData, RawImage
from seam.errors import DataError, SuspectResultWarning
from tests.seam.data.pictures import picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i, name in enumerate(("cat", "dog")):
        for j in range(2):
            picture(tmp_path / "train" / name / f"{j}.png", 10 * i + j)
        picture(tmp_path / "test" / name / "0.JPG", 100 + i)
    return tmp_path


LEFT = ("train/Thumbs.db", "test/desktop.ini", "train/cat/Thumbs.db", "test/dog/notes.txt", "train/labels.csv")


def test_what_systems_leave_and_files_that_are_no_images_are_skipped_and_counted(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in LEFT:
        (folder / name).write_bytes(b"x")
    for name in ("train/__MACOSX", "train/cat/__MACOSX", "test/@eaDir"):
        (folder / name).mkdir()
    (folder / "train/cat/._0.png").write_bytes(b"hidden, not counted")
    with caplog.at_level(logging.INFO, "seam"):
        data = load_raw("image_folder", folder)
    assert data.classes == class_names("image_folder", folder) == ("cat", "dog")
    assert [Path(i.path).name for i in data.images] == ["0.png", "1.png", "0.png", "1.png", "0.JPG", "0.JPG"]
    assert all(i.pixels is not None for i in data.images)
    assert len(caplog.records) == 1 and "8 files" in caplog.text and "Thumbs.db" in caplog.text


def test_nothing_is_said_where_nothing_is_skipped(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "seam"):
        load_raw("image_folder", folder)
    assert not caplog.records


@pytest.mark.parametrize("name", ["broken.png", "phone.HEIC"])
def test_an_image_that_does_not_decode_is_no_other_file(folder: Path, name: str) -> None:
    (folder / "train/cat" / name).write_bytes(b"x")
    failed = [i for i in load_raw("image_folder", folder).images if i.pixels is None]
    assert len(failed) == 1 and failed[0].path == str(folder / "train/cat" / name)


def test_an_image_beside_the_class_folders_is_refused(folder: Path) -> None:
    picture(folder / "train/lost.png", 1)
    with pytest.raises(DataError, match=r"lost\.png: expected only class folders"):
        load_raw("image_folder", folder)


@pytest.mark.parametrize("name", VAL_FOLDERS)
def test_val_by_any_of_its_names(folder: Path, name: str) -> None:
    for i, of_class in enumerate(("cat", "dog")):
        picture(folder / name / of_class / "0.png", 50 + i)
    data = load_raw("image_folder", folder)
    assert [(i.split, i.label) for i in data.images if name in Path(i.path).parts] == [("val", 0), ("val", 1)]
    (folder / "test").rename(folder / "elsewhere")
    with pytest.raises(DataError, match=rf"test: no such folder.*{name}/ is there: rename it to test"):
        load_raw("image_folder", folder)


def test_two_folders_for_val_are_refused(folder: Path) -> None:
    for name in VAL_FOLDERS[:2]:
        (folder / name).mkdir()
    with pytest.raises(DataError, match="expected one folder of images for validation, got val, valid"):
        load_raw("image_folder", folder)


def doubts(data: RawData, image_size: int | None = None) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        doubt_images(data, image_size)
    assert all(isinstance(w.message, SuspectResultWarning) for w in caught)
    return [str(w.message) for w in caught]


def test_one_picture_with_two_labels_is_a_doubt_that_names_both_files(folder: Path) -> None:
    assert doubts(load_raw("image_folder", folder)) == []
    picture(folder / "train/cat/again.png", 0)  # the same label twice
    assert doubts(load_raw("image_folder", folder)) == []
    picture(folder / "train/dog/wrong.png", 0)
    (text,) = doubts(load_raw("image_folder", folder))
    assert text.startswith("1 images have the pixels of one with another label")
    assert f"{folder}/train/cat/0.png (cat) and {folder}/train/dog/wrong.png (dog)" in text


def test_labels_out_of_range_are_left_to_the_expectations() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    (text,) = doubts(RawData((RawImage("a", "train", 0, pixels), RawImage("b", "train", 7, pixels)), ("cat",)))
    assert "a (cat) and b (7)" in text


@pytest.mark.parametrize(
    ("width", "height", "is_odd"),
    [(1, 1, True), (400, 3, True), (8, 8, True), (9, 9, False), (33, 9, False), (37, 9, True), (128, 33, False)],
)
def test_images_that_a_size_makes_up_or_cuts_away_are_a_doubt(
    folder: Path, width: int, height: int, is_odd: bool
) -> None:
    for file in folder.rglob("*.*"):
        picture(file, 0 if "cat" in file.parts else 1, 32, 32)
    picture(folder / "train/dog/odd.png", 5, width, height)
    found = doubts(load_raw("image_folder", folder, 32), 32)
    assert len(found) == is_odd
    if is_odd:
        assert "1 images are much smaller than 32 x 32 pixels, or so long" in found[0]
        assert f"odd.png ({width} x {height})" in found[0]


def test_an_exif_orientation_is_ignored_and_a_doubt(folder: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    pixels = np.random.default_rng(3).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "train/cat/turned.png", exif=exif)
    data = load_raw("image_folder", folder)
    assert np.array_equal(next(i for i in data.images if "turned" in i.path).pixels, pixels)
    (text,) = doubts(data)
    assert text.startswith("1 images have an EXIF orientation, which is ignored") and "turned.png" in text
    assert "leave them if" in text and "set `exif` of the data to apply" in text


def all_alike(folder: Path, mode: str) -> RawData:
    """The images of a folder, each brought to a mode of Pillow and saved anew."""
    for file in folder.rglob("*.*"):
        image = Image.open(file).convert(mode)
        file.unlink()
        image.save(file.with_suffix(".png"))
    return load_raw("image_folder", folder)


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_grey_images_have_one_channel(folder: Path, mode: str) -> None:
    data = all_alike(folder, mode)
    assert {i.mode for i in data.images} == {"L"} and doubts(data) == []
    for image in data.images:
        assert np.array_equal(image.pixels[..., 0], np.array(Image.open(image.path).convert("L")))


@pytest.mark.parametrize("mode", ["P", "RGB", "RGBA"])
def test_images_in_colour_have_three_channels(folder: Path, mode: str) -> None:
    data = all_alike(folder, mode)
    assert {i.mode for i in data.images} == {"RGB"} and doubts(data) == []


def test_a_grey_image_with_opacity_is_repeated_among_images_in_colour(folder: Path) -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(grey).convert("LA").save(folder / "train/cat/la.png")
    data = load_raw("image_folder", folder)
    (found,) = (i for i in data.images if i.path.endswith("la.png"))
    assert np.array_equal(found.pixels, np.stack([grey] * 3, axis=2)) and {i.mode for i in data.images} == {"RGB"}


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_more_than_8_bits_a_sample_are_refused(folder: Path, dtype: type) -> None:
    Image.fromarray(np.ones((8, 8), dtype)).save(folder / "train/cat/deep.tiff")
    (failed,) = (i for i in load_raw("image_folder", folder).images if i.pixels is None)
    assert failed.path.endswith("deep.tiff") and str(failed.error).startswith("expected 8 bits a sample, got mode")


def test_transparency_that_is_dropped_is_a_doubt_said_once(folder: Path) -> None:
    pixels = np.random.default_rng(4).integers(0, 256, (8, 8, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    pixels[0, 0, 3] = 254
    Image.fromarray(pixels).save(folder / "train/cat/seen_through.png")
    Image.fromarray(pixels[..., 2:]).save(folder / "train/dog/grey.png")  # LA
    one_colour = tuple(map(int, pixels[3, 3, :3]))
    Image.fromarray(pixels).convert("RGB").save(folder / "test/dog/keyed.png", transparency=one_colour)
    data = load_raw("image_folder", folder)
    (text,) = doubts(data)
    assert text.startswith("3 images have transparent pixels") and "cat/seen_through.png and 2 more" in text
    (read,) = (i.pixels for i in data.images if i.path.endswith("seen_through.png"))
    assert np.array_equal(read, pixels[..., :3])
