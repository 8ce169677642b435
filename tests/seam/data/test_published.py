"""The data sets of the published transfer experiments.

Small ones in exactly their formats, and what is said of damaged ones.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save
from scipy.io import savemat

from seam.configs.data import DataConfig
from seam.data import raw
from seam.data.formats import listing
from seam.data.formats.load import LISTINGS, Kind, PublishedKind, class_names, load_raw
from seam.data.prepared import ImageData, load_prepared, save_prepared
from seam.data.resize import resize_and_crop
from seam.errors import DataError
from tasks.project.params import Params
from tasks.project.stage import StageContext
from tasks.validate_data import validate_data

SIZE = 8


def jpeg(path: Path, shade: int, mode: str = "RGB", size: tuple[int, int] = (20, 14)) -> None:
    """A small image of one shade, with a little texture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size[1], size[0], 3), shade, np.uint8) + np.random.default_rng(shade).integers(
        0, 6, (size[1], size[0], 3), dtype=np.uint8
    )
    Image.fromarray(pixels).convert(mode).save(path, quality=95)


def cells(texts: list[str]) -> np.ndarray:
    """A column of MATLAB cells with text."""
    column = np.empty((len(texts), 1), dtype=object)
    column[:, 0] = texts
    return column


@dataclass(frozen=True)
class Truth:
    """What a data set made here holds."""

    classes: tuple[str, ...]
    train: tuple[tuple[str, int], ...]
    """File, relative to the root, and label, in order."""
    test: tuple[tuple[str, int], ...]


def make_mit67(root: Path) -> Truth:
    """Lists in no order of classes, a name with a space, images that no list names, a hidden file."""
    train = ["kitchen/int474.jpg", "airport_inside/airport_inside_0148.jpg", "mall/shopping mall.jpg", "kitchen/k3.jpg"]
    test = ["mall/mall13.jpg", "kitchen/k9.jpg", "airport_inside/airport_inside_0001.jpg"]
    for shade, name in enumerate([*train, *test, "kitchen/unlisted.jpg"]):
        jpeg(root / "Images" / name, 20 + 25 * shade, "L" if name == "kitchen/k9.jpg" else "RGB")
    (root / "Images" / ".DS_Store").write_bytes(b"x")
    (root / "TrainImages.txt").write_text("\n".join(train))  # the original has no newline at its end
    (root / "TestImages.txt").write_bytes("\r\n".join([*test, ""]).encode())
    return Truth(
        ("airport_inside", "kitchen", "mall"),
        (
            ("Images/kitchen/int474.jpg", 1),
            ("Images/airport_inside/airport_inside_0148.jpg", 0),
            ("Images/mall/shopping mall.jpg", 2),
            ("Images/kitchen/k3.jpg", 1),
        ),
        (
            ("Images/mall/mall13.jpg", 2),
            ("Images/kitchen/k9.jpg", 1),
            ("Images/airport_inside/airport_inside_0001.jpg", 0),
        ),
    )


def make_cub200(root: Path) -> Truth:
    """Six images in the order of the original: by class."""
    names = ["001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross"]
    files = [f"{name}/{name[4:]}_{i}.jpg" for name in names for i in ("0046_18", "0009_34")]
    for shade, file in enumerate(files):
        jpeg(root / "images" / file, 20 + 30 * shade)
    (root / "classes.txt").write_text("".join(f"{i} {name}\n" for i, name in enumerate(names, 1)))
    (root / "images.txt").write_text("".join(f"{i} {file}\n" for i, file in enumerate(files, 1)))
    (root / "image_class_labels.txt").write_text("1 1\n2 1\n3 2\n4 2\n5 3\n6 3\n")
    (root / "train_test_split.txt").write_text("1 0\n2 1\n3 1\n4 0\n5 1\n6 0\n")
    return Truth(
        ("001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross"),
        (
            ("images/001.Black_footed_Albatross/Black_footed_Albatross_0009_34.jpg", 0),
            ("images/002.Laysan_Albatross/Laysan_Albatross_0046_18.jpg", 1),
            ("images/003.Sooty_Albatross/Sooty_Albatross_0046_18.jpg", 2),
        ),
        (
            ("images/001.Black_footed_Albatross/Black_footed_Albatross_0046_18.jpg", 0),
            ("images/002.Laysan_Albatross/Laysan_Albatross_0009_34.jpg", 1),
            ("images/003.Sooty_Albatross/Sooty_Albatross_0009_34.jpg", 2),
        ),
    )


def make_flowers102(root: Path) -> Truth:
    """Nine images; number 4 is in no part. Arrays are compressed, as in the original."""
    for number in range(1, 10):
        jpeg(root / "jpg" / f"image_{number:05d}.jpg", 20 * number)
    savemat(
        root / "imagelabels.mat", {"labels": np.array([[3, 1, 2, 2, 1, 3, 2, 1, 3]], np.uint8)}, do_compression=True
    )
    parts = {"trnid": [6, 2, 3], "valid": [9], "tstid": [1, 8, 5, 7]}
    savemat(
        root / "setid.mat",
        {name: np.array([numbers], np.uint16) for name, numbers in parts.items()},
        do_compression=True,
    )
    return Truth(
        ("1", "2", "3"),
        (
            ("jpg/image_00006.jpg", 2),
            ("jpg/image_00002.jpg", 0),
            ("jpg/image_00003.jpg", 1),
            ("jpg/image_00009.jpg", 2),
        ),
        (
            ("jpg/image_00001.jpg", 2),
            ("jpg/image_00008.jpg", 0),
            ("jpg/image_00005.jpg", 0),
            ("jpg/image_00007.jpg", 1),
        ),
    )


def make_actions40(root: Path) -> Truth:
    """With the original's files that list no class, and an order in actions.txt that is not the sorted one."""
    lists = {
        "reading_train": ["reading_001.jpg", "reading_003.jpg"],
        "reading_test": ["reading_002.jpg"],
        "phoning_train": ["phoning_002.jpg"],
        "phoning_test": ["phoning_001.jpg", "phoning_003.jpg"],
        "riding_a_bike_train": ["riding_a_bike_001.jpg"],
        "riding_a_bike_test": ["riding_a_bike_002.jpg"],
    }
    (root / "ImageSplits").mkdir(parents=True)
    for shade, file in enumerate(file for files in lists.values() for file in files):
        jpeg(root / "JPEGImages" / file, 20 + 20 * shade)
    for name, files in lists.items():
        (root / "ImageSplits" / f"{name}.txt").write_text("\n".join([*files, ""]))
    for split in ("train", "test"):
        (root / "ImageSplits" / f"{split}.txt").write_text(
            "\n".join(file for name, files in lists.items() if name.endswith(f"_{split}") for file in files)
        )
    (root / "ImageSplits" / "actions.txt").write_text(
        "action_name\tnumber_of_images\nreading\t3\nphoning\t3\nriding_a_bike\t2\n"
    )
    (root / "ImageSplits" / "._reading_train.txt").write_bytes(b"\x00\x05\x16\x07")
    return Truth(
        ("phoning", "reading", "riding_a_bike"),
        (
            ("JPEGImages/phoning_002.jpg", 0),
            ("JPEGImages/reading_001.jpg", 1),
            ("JPEGImages/reading_003.jpg", 1),
            ("JPEGImages/riding_a_bike_001.jpg", 2),
        ),
        (
            ("JPEGImages/phoning_001.jpg", 0),
            ("JPEGImages/phoning_003.jpg", 0),
            ("JPEGImages/reading_002.jpg", 1),
            ("JPEGImages/riding_a_bike_002.jpg", 2),
        ),
    )


def write_dogs(root: Path, split: str, files: list[str], labels: list[int]) -> None:
    """One list, with the arrays and shapes of the original."""
    annotations = cells([file.removesuffix(".jpg") for file in files])
    savemat(
        root / f"{split}_list.mat",
        {"file_list": cells(files), "annotation_list": annotations, "labels": np.array([labels], np.uint8).T},
        do_compression=True,
    )


def make_dogs120(root: Path) -> Truth:
    """Three breeds, in the test list in another order."""
    chihuahua, spaniel, hunting = "n02085620-Chihuahua", "n02085782-Japanese_spaniel", "n02116738-African_hunting_dog"
    train = [
        f"{chihuahua}/n02085620_5927.jpg",
        f"{chihuahua}/n02085620_4441.jpg",
        f"{spaniel}/n02085782_1.jpg",
        f"{hunting}/n02116738_3.jpg",
    ]
    test = [f"{hunting}/n02116738_2.jpg", f"{chihuahua}/n02085620_7.jpg", f"{spaniel}/n02085782_9.jpg"]
    for shade, file in enumerate([*train, *test]):
        jpeg(root / "Images" / file, 20 + 30 * shade)
    write_dogs(root, "train", train, [1, 1, 2, 3])
    write_dogs(root, "test", test, [3, 1, 2])
    return Truth(
        ("n02085620-Chihuahua", "n02085782-Japanese_spaniel", "n02116738-African_hunting_dog"),
        (
            ("Images/n02085620-Chihuahua/n02085620_5927.jpg", 0),
            ("Images/n02085620-Chihuahua/n02085620_4441.jpg", 0),
            ("Images/n02085782-Japanese_spaniel/n02085782_1.jpg", 1),
            ("Images/n02116738-African_hunting_dog/n02116738_3.jpg", 2),
        ),
        (
            ("Images/n02116738-African_hunting_dog/n02116738_2.jpg", 2),
            ("Images/n02085620-Chihuahua/n02085620_7.jpg", 0),
            ("Images/n02085782-Japanese_spaniel/n02085782_9.jpg", 1),
        ),
    )


MAKERS: dict[Any, Callable[[Path], Truth]] = {
    "mit67": make_mit67,
    "cub200": make_cub200,
    "flowers102": make_flowers102,
    "actions40": make_actions40,
    "dogs120": make_dogs120,
}
HOLDS = {
    "mit67": ("Images", "TrainImages.txt", "TestImages.txt"),
    "cub200": ("images", "images.txt", "image_class_labels.txt", "classes.txt", "train_test_split.txt"),
    "flowers102": ("jpg", "imagelabels.mat", "setid.mat"),
    "actions40": ("JPEGImages", "ImageSplits"),
    "dogs120": ("Images", "train_list.mat", "test_list.mat"),
}
PAGES = {
    "mit67": "https://web.mit.edu/torralba/www/indoor.html",
    "cub200": "https://www.vision.caltech.edu/datasets/cub_200_2011/",
    "flowers102": "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
    "actions40": "http://vision.stanford.edu/Datasets/40actions.html",
    "dogs120": "http://vision.stanford.edu/aditya86/ImageNetDogs/",
}
every_kind = pytest.mark.parametrize("kind", MAKERS)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "sets" / "it"


def says(kind: Any, root: Path, *words: str) -> None:
    """One line with these words and the page of the data set, from `load_raw` and from `class_names` alike."""
    messages = []
    for call in (lambda: load_raw(kind, root, SIZE), lambda: class_names(kind, root)):
        with pytest.raises(DataError) as caught:
            call()
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "\n" not in messages[0]
    for word in words:
        assert word in messages[0], messages[0]


def test_every_kind_is_a_parameter_and_is_tested() -> None:
    assert get_args(get_type_hints(DataConfig)["kind"]) == get_args(Kind)
    assert set(MAKERS) == set(LISTINGS) == set(get_args(PublishedKind))


@every_kind
def test_classes_order_labels_and_splits(kind: Any, root: Path) -> None:
    truth = MAKERS[kind](root)
    data = load_raw(kind, root, SIZE)
    assert data.classes == truth.classes
    for split, expected in (("train", truth.train), ("test", truth.test)):
        assert tuple((i.path, i.label) for i in data.images if i.split == split) == tuple(
            (str(root / file), label) for file, label in expected
        )
    assert [i.split for i in data.images] == ["train"] * len(truth.train) + ["test"] * len(truth.test)
    for image in data.images:
        assert np.array_equal(image.pixels, resize_and_crop(np.asarray(Image.open(image.path).convert("RGB")), SIZE)), (
            image.path
        )
        assert image.error is None


@every_kind
def test_class_names_come_without_decoding(kind: Any, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = MAKERS[kind](root)
    monkeypatch.setattr(Image, "open", None)
    assert class_names(kind, root) == truth.classes


@pytest.mark.parametrize("kind", ["mit67", "dogs120"])
def test_the_stage_writes_it_resized(kind: Any, tmp_path: Path) -> None:
    truth = MAKERS[kind](tmp_path / "data" / kind)
    params = Params(
        problems={"p": truth.classes[:1]},
        data=DataConfig(kind=kind, path=f"data/{kind}", image_size=SIZE, min_images_per_class=1),
    )
    validate_data(StageContext("validate_data", params, tmp_path))
    data = load_prepared(tmp_path / "artifacts" / "validate_data" / "dataset.safetensors")
    assert data.classes == truth.classes
    assert data.x_train.shape == (len(truth.train), SIZE, SIZE, 3)
    assert data.y_train.tolist() == [label for _, label in truth.train]
    assert data.y_test.tolist() == [label for _, label in truth.test]
    last = np.asarray(Image.open(tmp_path / "data" / kind / truth.test[-1][0]).convert("RGB"))
    assert np.array_equal(data.x_test[-1], resize_and_crop(last, SIZE))


@every_kind
def test_a_corrupt_image_is_part_of_the_result(kind: Any, root: Path) -> None:
    bad = root / MAKERS[kind](root).train[1][0]
    bad.write_bytes(bad.read_bytes()[:100])
    data = load_raw(kind, root, SIZE)
    assert [(i.path, i.pixels is None) for i in data.images if i.error] == [(str(bad), True)]


@every_kind
def test_a_size_is_asked_for(kind: Any, root: Path) -> None:
    MAKERS[kind](root)
    with pytest.raises(DataError, match=r"many sizes.*set data\.image_size"):
        load_raw(kind, root)


@every_kind
def test_no_such_folder(kind: Any, root: Path) -> None:
    says(kind, root, f"{root}: no such folder", *HOLDS[kind], PAGES[kind], "set data.path")


@every_kind
def test_one_folder_up_or_down(kind: Any, root: Path) -> None:
    MAKERS[kind](root)
    says(
        kind, root.parent, f"{root.parent}: expected {HOLDS[kind][0]}/", f"found them in {root}; set data.path to that"
    )
    inside = root / HOLDS[kind][0]
    says(kind, inside, f"{inside}: expected", f"found them in {root}; set data.path to that")


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in HOLDS.items() for name in names])
def test_a_missing_list_or_folder(kind: Any, name: str, root: Path) -> None:
    MAKERS[kind](root)
    (root / name).rename(root / "elsewhere")
    says(kind, root, str(root), f"missing: {name}", PAGES[kind])


@every_kind
def test_a_listed_image_that_is_not_there(kind: Any, root: Path) -> None:
    truth = MAKERS[kind](root)
    gone = root / truth.test[-1][0]
    gone.unlink()
    says(
        kind,
        root,
        f"{gone}: listed in test and not there (1 of {len(truth.train) + len(truth.test)} listed images are missing)",
        PAGES[kind],
    )


@pytest.mark.parametrize(
    ("kind", "name"),
    [(k, n) for k, names in HOLDS.items() for n in names if "." in n] + [("actions40", "ImageSplits/phoning_test.txt")],
)
def test_a_list_of_other_bytes(kind: Any, name: str, root: Path) -> None:
    MAKERS[kind](root)
    (root / name).write_bytes(b"\xff\x00not a list\x80" * 20)
    says(kind, root, str(root / name), "expected a ", PAGES[kind])


@pytest.mark.parametrize(
    ("kind", "name"), [("flowers102", "imagelabels.mat"), ("flowers102", "setid.mat"), ("dogs120", "train_list.mat")]
)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9])
def test_a_truncated_mat_file(kind: Any, name: str, share: float, root: Path) -> None:
    MAKERS[kind](root)
    content = (root / name).read_bytes()
    (root / name).write_bytes(content[: int(share * len(content))])
    says(kind, root, str(root / name), PAGES[kind])


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("line", "words"),
    [("garden/g1.jpg", "a folder of Images/ as class, got 'garden/g1.jpg'"), ("kitchen", "<class>/<file>")],
)
def test_mit67_names_the_line(root: Path, line: str, words: str) -> None:
    make_mit67(root)
    edit(root / "TrainImages.txt", "mall/shopping mall.jpg", line)
    says("mit67", root, f"{root / 'TrainImages.txt'}:3: expected", words)


def test_mit67_class_without_images(root: Path) -> None:
    make_mit67(root)
    (root / "Images" / "bakery").mkdir()
    says("mit67", root, "class 'bakery' (1 of 4 classes) has none", "train images of every class", PAGES["mit67"])


def test_cub200_keeps_its_numbers(root: Path) -> None:
    make_cub200(root)
    (root / "classes.txt").write_text("1 Zebra_Finch\n2 Albatross\n3 Mew\n")
    data = load_raw("cub200", root, SIZE)
    assert data.classes == ("Zebra_Finch", "Albatross", "Mew")
    assert [i.label for i in data.images] == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("image_class_labels.txt", "6 3\n", "", "expected the 6 numbers of images.txt, 6 is not in this file"),
        ("train_test_split.txt", "6 0\n", "6 0\n7 0\n", "7 is not in images.txt"),
        ("image_class_labels.txt", "6 3", "6 4", "expected a class of classes.txt for image 6, got '4'"),
        ("train_test_split.txt", "2 1", "2 2", "expected 1 (train) or 0 (test) for image 2, got '2'"),
        ("images.txt", "2 001", "1 001", "images.txt:2: expected a new number"),
        (
            "classes.txt",
            "3 003.Sooty_Albatross",
            "3",
            "classes.txt:3: expected a new number and what belongs to it, got '3'",
        ),
        ("train_test_split.txt", "5 1", "5 0", "class '003.Sooty_Albatross' (1 of 3 classes) has none"),
        (
            "classes.txt",
            "3 003.Sooty_Albatross\n",
            "3 003.Sooty_Albatross\n4 004.Groove_billed_Ani\n",
            "class '004.Groove_billed_Ani' (1 of 4 classes) has none",
        ),
    ],
)
def test_cub200_lists_that_disagree(root: Path, file: str, old: str, new: str, words: str) -> None:
    make_cub200(root)
    edit(root / file, old, new)
    says("cub200", root, words, PAGES["cub200"])


@pytest.mark.parametrize(
    ("file", "arrays", "words"),
    [
        (
            "setid.mat",
            {"trnid": [[2, 3, 10]], "valid": [[9]], "tstid": [[1]]},
            "setid.mat[trnid]: expected integers in 1..9, got 10",
        ),
        ("setid.mat", {"trnid": [[0]], "valid": [[9]], "tstid": [[1]]}, "got 0"),
        ("setid.mat", {"trnid": [[2]], "tstid": [[1]]}, "'valid' is missing; found: trnid, tstid"),
        (
            "setid.mat",
            {"trnid": [[2, 3, 6]], "valid": [[9]], "tstid": [[1, 8]]},
            "test images of every class in the lists, class '2' (1 of 3 classes) has none",
        ),
        ("imagelabels.mat", {"labels": [[1.5] * 9]}, "imagelabels.mat[labels]: expected integers in 1..9, got 1.5"),
        ("imagelabels.mat", {"labels": ["text"]}, "imagelabels.mat[labels]: expected integers in 1..1, got type"),
        ("imagelabels.mat", {"other": [[1]]}, "'labels' is missing"),
    ],
)
def test_flowers102_numbers_that_are_wrong(root: Path, file: str, arrays: dict[str, Any], words: str) -> None:
    make_flowers102(root)
    savemat(root / file, arrays)
    says("flowers102", root, words, PAGES["flowers102"])


def test_actions40_lists_that_are_missing(root: Path) -> None:
    make_actions40(root)
    (root / "ImageSplits" / "reading_test.txt").rename(root / "elsewhere")
    says("actions40", root, f"{root / 'ImageSplits' / 'reading_test.txt'}: no such file", PAGES["actions40"])
    (root / "elsewhere").rename(root / "ImageSplits" / "reading_test.txt")
    (root / "ImageSplits" / "phoning_train.txt").write_text("\n")
    says("actions40", root, "class 'phoning' (1 of 3 classes) has none", PAGES["actions40"])
    for file in (root / "ImageSplits").glob("*_*.txt"):
        file.unlink()
    says("actions40", root, f"{root / 'ImageSplits'}: expected <class>_train.txt", PAGES["actions40"])


def test_dogs120_keeps_its_numbers(root: Path) -> None:
    make_dogs120(root)
    for split, files in (("train", ["b/1.jpg", "a/1.jpg", "c/1.jpg"]), ("test", ["a/2.jpg", "b/2.jpg", "c/2.jpg"])):
        for shade, file in enumerate(files):
            jpeg(root / "Images" / file, 20 + 30 * shade)
        write_dogs(root, split, files, [1, 2, 3] if split == "train" else [2, 1, 3])
    data = load_raw("dogs120", root, SIZE)
    assert data.classes == ("b", "a", "c")
    assert [i.label for i in data.images] == [0, 1, 2, 1, 0, 2]


@pytest.mark.parametrize(
    ("files", "labels", "words"),
    [
        (["a/1.jpg", "b/1.jpg"], [1], "expected a label for each of the 2 files in file_list, got 1 labels"),
        (["a/1.jpg", "b/1.jpg"], [1, 1], "expected one folder for class 1, got 'a' and 'b'"),
        (["a/1.jpg", "a/2.jpg"], [1, 2], "expected one number for folder 'a', got 1 and 2"),
        (["a/1.jpg", "b/1.jpg"], [1, 0], "train_list.mat[labels]: expected integers in 1..2, got 0"),
        (["a/1.jpg", 7], [1, 2], "train_list.mat[file_list]: expected a cell array of text, got int in it"),
    ],
)
def test_dogs120_lists_that_are_wrong(root: Path, files: list[Any], labels: list[int], words: str) -> None:
    make_dogs120(root)
    savemat(
        root / "train_list.mat",
        {"file_list": cells(files), "labels": np.array([labels], np.uint8).T},
        do_compression=True,
    )
    says("dogs120", root, words, PAGES["dogs120"])


def test_full_size_images_are_never_held_together(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(40):
        for split in ("train", "test"):
            jpeg(root / split / "cat" / f"{i:02}.jpg", 4 * i + 10, size=(60, 90))
    decoded: list[weakref.ref[Any]] = []
    alive: list[int] = []

    def decode(image: Image.Image) -> Any:
        pixels = raw.decode(image)
        decoded.append(weakref.ref(pixels))
        alive.append(sum(ref() is not None for ref in decoded))
        return pixels

    monkeypatch.setattr(listing, "decode", decode)
    monkeypatch.setattr(listing, "_cores", lambda: 3)
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
        monkeypatch.setattr(listing, "_cores", lambda cores=cores: cores)
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
