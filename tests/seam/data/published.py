"""Small data sets in exactly the formats of the published transfer experiments, and what each of them holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

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


every_kind = pytest.mark.parametrize("kind", MAKERS)
