"""The data sets of the published transfer experiments: classes, order, labels, splits and pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

from seam.configs.data import DataConfig, DataKind
from seam.data.formats.load import FORMATS, PUBLISHED, class_names, load_raw
from seam.data.prepared import load_prepared
from seam.data.resize import resize_and_crop
from seam.errors import DataError
from tasks.project.params import Params
from tasks.project.stage import StageContext
from tasks.validate_data import validate_data
from tests.seam.data.published import MAKERS, SIZE, every_kind, jpeg, make_cub200, make_dogs120, write_dogs


def test_every_kind_is_a_parameter_and_is_tested() -> None:
    assert get_args(DataKind) == tuple(FORMATS)
    assert set(MAKERS) == set(PUBLISHED) == {"mit67", "cub200", "flowers102", "actions40", "dogs120"}


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
    with pytest.raises(DataError, match=r"many sizes.*published: 224.*choose another size"):
        load_raw(kind, root)


def test_cub200_keeps_its_numbers(root: Path) -> None:
    make_cub200(root)
    (root / "classes.txt").write_text("1 Zebra_Finch\n2 Albatross\n3 Mew\n")
    data = load_raw("cub200", root, SIZE)
    assert data.classes == ("Zebra_Finch", "Albatross", "Mew")
    assert [i.label for i in data.images] == [0, 1, 2, 0, 1, 2]


def test_dogs120_keeps_its_numbers(root: Path) -> None:
    make_dogs120(root)
    for split, files in (("train", ["b/1.jpg", "a/1.jpg", "c/1.jpg"]), ("test", ["a/2.jpg", "b/2.jpg", "c/2.jpg"])):
        for shade, file in enumerate(files):
            jpeg(root / "Images" / file, 20 + 30 * shade)
        write_dogs(root, split, files, [1, 2, 3] if split == "train" else [2, 1, 3])
    data = load_raw("dogs120", root, SIZE)
    assert data.classes == ("b", "a", "c")
    assert [i.label for i in data.images] == [0, 1, 2, 1, 0, 2]
