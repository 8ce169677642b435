"""One line that names file and line, and the page of the data set, for whatever is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from tests.seam.data.damaged import HOLDS, PAGES, edit, says
from tests.seam.data.published import (
    MAKERS,
    cells,
    every_kind,
    make_actions40,
    make_cub200,
    make_dogs120,
    make_flowers102,
    make_mit67,
)


@every_kind
def test_no_such_folder(kind: Any, root: Path) -> None:
    says(kind, root, f"{root}: no such folder", *HOLDS[kind], PAGES[kind], "give the path")


@every_kind
def test_one_folder_up_or_down(kind: Any, root: Path) -> None:
    MAKERS[kind](root)
    says(kind, root.parent, f"{root.parent}: expected {HOLDS[kind][0]}/", f"found them in {root}; give the path")
    inside = root / HOLDS[kind][0]
    says(kind, inside, f"{inside}: expected", f"found them in {root}; give the path")


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
