"""Image folders that nobody meant to make: each is read rightly, or one line says what is wrong with it."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seam.configs.data import DataKind
from seam.data.doubts import doubt_images
from seam.data.formats.load import check_links, class_names, load_raw
from seam.data.raw import RawData
from seam.errors import DataError, SuspectResultWarning
from tests.seam.data.pictures import deep_png, noise, picture

Change = Callable[[Path], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "pets"
    for i, name in enumerate(("cat", "dog")):
        for j in range(2):
            picture(root / "train" / name / f"{j}.png", 10 * i + j)
        picture(root / "test" / name / "0.png", 100 + i)
    return root


def read(root: Path) -> RawData:
    """As the stage reads it; whatever lies there, it comes to an end."""
    found: list[RawData | BaseException] = []

    def run() -> None:
        try:
            check_links("image_folder", root)
            found.append(load_raw("image_folder", root))
        except BaseException as e:
            found.append(e)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert found, "hangs"
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


def move(name: str, to: str) -> Change:
    return lambda root: (root / name).rename(root / to)


def file_at(name: str) -> Change:
    def change(root: Path) -> None:
        shutil.rmtree(root / name)
        (root / name).write_text("x")

    return change


def link(name: str, to: str) -> Change:
    def change(root: Path) -> None:
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name).symlink_to(root / to)

    return change


def add(*names: str) -> Change:
    return lambda root: [picture(root / name, 50 + i) for i, name in enumerate(names)]


def both(*changes: Change) -> Change:
    return lambda root: [change(root) for change in changes]


REFUSED: dict[str, tuple[Change, str]] = {
    "one folder down": (
        both(lambda root: (root / "shop").mkdir(), move("train", "shop/train"), move("test", "shop/test")),
        "found them in .*pets/shop; give the path",
    ),
    "classes without splits": (
        both(move("train/cat", "cat"), lambda root: shutil.rmtree(root / "train")),
        "pets/train: no such folder; .* got cat, test; rename or move them",
    ),
    "Train": (move("train", "Train"), "pets/train: no such folder; .* got Train, test; rename"),
    "testing": (move("test", "testing"), "pets/test: no such folder; .* got testing, train; rename"),
    "no folder": (shutil.rmtree, "pets: expected .*, got no such folder; give the path"),
    "a file as root": (file_at(""), "pets: expected .*, got a file; give the path"),
    "a file as train": (file_at("train"), "pets/train: expected .*, got a file; put images there"),
    "a file as class": (file_at("test/cat"), "test/cat: expected a folder, as in train, got a file; replace it"),
    "a class in test alone": (add("test/eel/0.png"), "the folder 'eel' is missing; make .*train/eel or remove"),
    "a class in train alone": (add("train/eel/0.png"), "the folder 'eel' is missing; make .*test/eel or remove"),
    "capitals that differ": (move("test/cat", "test/Cat"), "got 'cat' in place of 'Cat', which differ in capitals"),
    "a space at the end": (move("test/cat", "test/cat "), "in place of 'cat ', which differ in capitals, spaces"),
    "accents written in two ways": (
        both(move("train/cat", "train/caf\u00e9"), move("test/cat", "test/cafe\u0301")),
        r"got 'caf\\xe9' in place of 'cafe\\u0301', which differ in .* the way accents are written",
    ),
    "folders within a class": (add("train/cat/kittens/0.png"), "kittens: expected images in .*cat, got a folder"),
    "a class that links to all classes": (
        both(link("train/loop", "train"), link("test/loop", "test")),
        r"loop/cat: expected images in .*loop, got a folder \(3 of 3 entries are\)",
    ),
    "a class that links to itself": (link("train/loop", "train/loop"), "loop: expected only class folders"),
    "train that links to itself": (link("train", "train"), "pets/train: no such folder"),
    "a broken link to train": (link("train", "nowhere"), "pets/train: no such folder"),
    "val without classes": (lambda root: (root / "val").mkdir(), "pets/val: expected one folder for each class"),
    "a class of line breaks": (
        both(move("train/cat", "train/a\nb"), move("test/cat", "test/a\nb")),
        r"names of classes in plain text \(UTF-8, no line breaks\), got 'a\\nb'; rename it",
    ),
    "a class that is no UTF-8": (
        both(move("train/cat", "train/\udcff"), move("test/cat", "test/\udcff")),
        r"plain text \(UTF-8, no line breaks\), got '\\udcff'",
    ),
    "a file that is no UTF-8": (
        move("train/cat/0.png", "train/cat/\udcfd.png"),
        r"\\udcfd\.png: expected a name in plain text",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_one_line_says_what_is_wrong(name: str, folder: Path) -> None:
    change, words = REFUSED[name]
    change(folder)
    with pytest.raises(DataError, match=words) as caught:
        read(folder)
    assert "\n" not in str(caught.value)


def cut(path: Path, by: float) -> None:
    noise(1, 64, 64).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) / by)])


def flip_a_checksum(path: Path) -> None:
    """Of the pixels of a PNG; Pillow decodes them all the same."""
    noise(1).save(path)
    content = bytearray(path.read_bytes())
    content[content.index(b"IEND") - 5] ^= 1
    path.write_bytes(content)
    assert Image.open(path).convert("RGB").size == (8, 8)


NO_IMAGES: dict[str, tuple[Change, str]] = {
    "nothing in it": (lambda root: (root / "train/cat/x.png").touch(), "cannot identify"),
    "a link to itself": (link("train/cat/x.png", "train/cat/x.png"), "symbolic links"),
    "a link to nothing": (link("train/cat/x.png", "nowhere"), "No such file"),
    "a pipe": (lambda root: os.mkfifo(root / "train/cat/x.png"), "expected a file, got a pipe or device"),
    "cut off": (lambda root: cut(root / "train/cat/x.jpg", 2), "truncated"),
    "cut off at the end": (lambda root: cut(root / "train/cat/x.jpg", 1.02), "truncated"),
    "pixels of another checksum": (
        lambda root: flip_a_checksum(root / "train/cat/x.png"),
        "checksum",
    ),
    "grey of 16 bits": (lambda root: deep_png(root / "train/cat/x.png", 0), "mode I;16; convert it to 8 bits (mogrify"),
}


@pytest.mark.parametrize("name", NO_IMAGES)
def test_a_file_that_is_no_image_is_named(name: str, folder: Path) -> None:
    change, words = NO_IMAGES[name]
    change(folder)
    (failed,) = (image for image in read(folder).images if image.pixels is None)
    assert Path(failed.path).stem == "x" and words in str(failed.error)


@contextmanager
def as_somebody() -> Iterator[None]:
    """Not as root, who may read everything."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65_534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@contextmanager
def open_to_all() -> Iterator[Path]:
    """A temporary folder that everybody may read; those of pytest belong to who runs it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_what_may_not_be_read_is_named(folder: Path) -> None:
    with open_to_all() as place:
        root = Path(shutil.copytree(folder, place / "pets"))
        (root / "train/cat/0.png").chmod(0)
        (root / "test/dog").chmod(0)
        for call in (load_raw, check_links):
            with as_somebody(), pytest.raises(DataError, match=r"test/dog: .* can be read, got: Permission denied"):
                call("image_folder", root)
        (root / "test/dog").chmod(0o755)
        with as_somebody():
            (failed,) = (image for image in load_raw("image_folder", root).images if image.pixels is None)
    assert failed.path.endswith("cat/0.png") and "Permission denied" in str(failed.error)


def test_names_of_all_scripts_are_names(folder: Path) -> None:
    for split in ("train", "test"):
        picture(folder / split / "K\u00e4se \u732b \U0001f9c0" / "\u00fc\u202f1.png", 7)
    data = read(folder)
    assert data.classes == ("K\u00e4se \u732b \U0001f9c0", "cat", "dog") == class_names("image_folder", folder)
    assert len(data.images) == 8 and all(image.pixels is not None for image in data.images)


def test_the_same_name_with_other_capitals_is_another_file(folder: Path) -> None:
    picture(folder / "train/cat/0.PNG", 3)
    assert sum(image.label == 0 and image.split == "train" for image in read(folder).images) == 3


def test_classes_that_are_called_almost_alike_are_a_doubt(folder: Path) -> None:
    for split in ("train", "test"):
        picture(folder / split / "Cat" / "x.png", 9 + len(split))
    (text,) = doubts(read(folder))
    assert text.startswith("classes are called almost alike: Cat and cat;")


@pytest.mark.parametrize("name", ["Val", "dev", "unlabelled"])
def test_other_folders_are_said_not_to_be_read(name: str, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    picture(folder / name / "cat" / "0.png", 5)
    with caplog.at_level(logging.INFO, "seam"):
        assert len(read(folder).images) == 6
    (record,) = caplog.records
    assert f"{name}/: not read; images are in train/, test/ and, for validation, val/" in record.getMessage()


def doubts(data: RawData) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        doubt_images(data, None)
    return [str(w.message) for w in caught if isinstance(w.message, SuspectResultWarning)]


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tiff"])
def test_of_several_pictures_in_a_file_the_first_is_read_with_a_doubt(suffix: str, folder: Path) -> None:
    path = folder / "train/cat" / f"x.{suffix}"
    several = [noise(seed).quantize(16) if suffix == "gif" else noise(seed) for seed in range(3)]
    several[0].save(path, save_all=True, append_images=several[1:], **({"lossless": True} if suffix == "webp" else {}))
    data = read(folder)
    (found,) = (image.pixels for image in data.images if image.path == str(path))
    assert np.array_equal(found, np.array(several[0].convert("RGB")))
    (text,) = doubts(data)
    assert text.startswith("1 files hold several pictures, of which the first is read") and path.name in text


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp", "gif", "ppm", "tga", "jpg", "ico"])
def test_pictures_of_other_formats_are_what_pillow_reads(suffix: str, folder: Path) -> None:
    path = folder / "train/cat" / f"x.{suffix}"
    noise(4, 16, 16).save(path)
    data = read(folder)
    (found,) = (image.pixels for image in data.images if image.path == str(path))
    assert np.array_equal(found, np.array(Image.open(path).convert("RGB"))) and doubts(data) == []


@pytest.mark.parametrize("colour_type", [2, 4, 6])
def test_of_colours_of_16_bits_the_upper_8_are_read(colour_type: int, folder: Path) -> None:
    values = deep_png(folder / "train/cat/x.png", colour_type)
    (found,) = (image.pixels for image in read(folder).images if image.path.endswith("x.png"))
    upper = (values >> 8).astype(np.uint8)
    colours = upper[..., :1] if colour_type == 4 else upper[..., :3]
    assert np.array_equal(found, np.broadcast_to(colours, found.shape))


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_a_pipe_in_place_of_a_file_of_arrays_is_refused(kind: DataKind, tmp_path: Path) -> None:
    path = tmp_path / f"d.{kind}"
    os.mkfifo(path)
    for call in (lambda: load_raw(kind, path), lambda: class_names(kind, path)):
        with pytest.raises(DataError, match="expected a file, got a pipe or device"):
            call()
