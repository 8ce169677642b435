"""The stage validate_data: what it writes, and that bad data gives a line for every failure and no artifact."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import ExifTags, Image

from seam.configs.data import DataConfig
from seam.data.prepared import load_prepared
from seam.data.statistics import channel_statistics
from seam.errors import DataError
from seam.files import read_json, sha256_file
from tasks.inputs.manifest import COLUMNS
from tasks.project.params import Params
from tasks.project.stage import StageContext
from tasks.validate_data import validate_data

CLASSES = ("cat", "dog", "eel")


def context(root: Path, kind: Any = "npz", path: str = "data/d.npz", **data: Any) -> StageContext:
    params = Params(
        problems={"cats": ("cat",)}, data=DataConfig(kind=kind, path=path, **{"min_images_per_class": 3, **data})
    )
    return StageContext("validate_data", params, root)


def save_npz(root: Path, **changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    content: dict[str, Any] = {
        "x_train": rng.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8),
        "y_train": np.arange(12) % 3,
        "x_test": rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8),
        "y_test": np.arange(6) % 3,
        "classes": np.array(CLASSES),
    } | changes
    (root / "data").mkdir(exist_ok=True)
    np.savez(root / "data" / "d.npz", **content)
    return content


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good image folder at data/pets."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("test", 2)):
        for name in CLASSES:
            place = tmp_path / "data" / "pets" / split / name
            place.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(place / f"{i}.png")
    return tmp_path / "data" / "pets"


def failure(stage: StageContext) -> list[str]:
    """The lines of the error; nothing may be left behind."""
    with pytest.raises(DataError) as caught:
        validate_data(stage)
    assert not list((stage.root / "artifacts").rglob("*"))
    return str(caught.value).splitlines()


def test_good_data_is_published(tmp_path: Path) -> None:
    content = save_npz(tmp_path)
    result = validate_data(context(tmp_path))
    out = tmp_path / "artifacts" / "validate_data"
    assert sorted(p.name for p in out.iterdir()) == [
        "data_docs",
        "dataset.safetensors",
        "manifest.parquet",
        "validation.json",
    ]
    assert result.summary["num_train"] == 12
    assert result.summary["image"] == "8x8x3"

    data = load_prepared(out / "dataset.safetensors")
    assert data.classes == CLASSES
    assert np.array_equal(data.x_train, content["x_train"])
    assert np.array_equal(data.y_test, content["y_test"])

    manifest = pd.read_parquet(out / "manifest.parquet")
    assert list(manifest.columns) == COLUMNS
    assert len(manifest) == 18
    row = manifest.iloc[13]
    image = content["x_test"][1]
    assert (row["path"], row["split"], row["label"], row["class"], row["mode"]) == (
        "data/d.npz[x_test:1]",
        "test",
        1,
        "dog",
        "RGB",
    )
    assert row["sha256"] == hashlib.sha256(b"(8, 8, 3)" + image.tobytes()).hexdigest()
    assert row["std"] == pytest.approx(np.std(image / 255))

    report = json.loads((out / "validation.json").read_text())
    assert report["success"] is True
    assert all(e["success"] for e in report["expectations"])
    assert report["images_per_class"]["eel"] == {"train": 4, "test": 2}
    assert report["mean"] == pytest.approx((content["x_train"] / 255).mean(axis=(0, 1, 2)))
    assert report["std"] == pytest.approx((content["x_train"] / 255).std(axis=(0, 1, 2)))


def test_data_docs_are_readable_and_load_nothing_from_elsewhere(tmp_path: Path) -> None:
    save_npz(tmp_path)
    validate_data(context(tmp_path))
    docs = tmp_path / "artifacts" / "validate_data" / "data_docs"
    pages = {p: p.read_text() for p in docs.rglob("*.html")}
    assert any("no test image is also in train" in text for text in pages.values())
    for page, text in pages.items():
        assert not any(tag in text for tag in ("<script", "<link", "<img", "@import")), page
    index = (docs / "index.html").read_text()
    assert all((docs / link.split('"')[0]).is_file() for link in index.split('href="')[1:])
    assert "href" in index


def test_same_data_same_bytes(tmp_path: Path) -> None:
    save_npz(tmp_path)
    files = [
        tmp_path / "artifacts" / "validate_data" / name
        for name in ("dataset.safetensors", "manifest.parquet", "validation.json")
    ]
    validate_data(context(tmp_path))
    before = [sha256_file(f) for f in files]
    validate_data(context(tmp_path))
    assert [sha256_file(f) for f in files] == before


def test_channel_statistics_by_hand() -> None:
    images = (
        np.array([0, 255, 255, 255, 51, 51, 51, 51], dtype=np.uint8).reshape(2, 4, 1).transpose(2, 1, 0)[:, None]
    )  # (1, 1, 4, 2)
    mean, std = channel_statistics(images)
    assert mean == pytest.approx([0.75, 0.2])
    assert std == pytest.approx([0.1875**0.5, 0])


def test_corrupt_image_is_named(folder: Path, tmp_path: Path) -> None:
    bad = folder / "train" / "dog" / "2.png"
    bad.write_bytes(b"\x89PNG not really")
    lines = failure(context(tmp_path, "image_folder", "data/pets"))
    assert len(lines) == 2  # the heading, and one failure
    assert "every image decodes: 1 of 18 images fail: data/pets/train/dog/2.png (cannot identify" in lines[1]


def test_links_out_of_the_folder_are_followed_only_if_told(folder: Path, tmp_path: Path) -> None:
    for name, place in (("1.png", tmp_path / "elsewhere"), ("2.png", folder / "train" / "dog")):
        place.mkdir(exist_ok=True)
        file = folder / "train" / "cat" / name
        file.rename(place / f"moved-{name}")
        file.symlink_to(place / f"moved-{name}")
    (folder / "train" / "eel").rename(tmp_path / "eels")
    (folder / "train" / "eel").symlink_to(tmp_path / "eels")
    (line,) = failure(context(tmp_path, "image_folder", "data/pets"))
    assert "5 of 19 images lead out of it, train/cat/1.png to " in line and "elsewhere/moved-1.png" in line
    assert validate_data(context(tmp_path, "image_folder", "data/pets", follow_links=True, drop_copies=True)).summary[
        "num_train"
    ]


def test_links_to_the_cache_of_dvc_are_followed(folder: Path, tmp_path: Path) -> None:
    file = folder / "train" / "cat" / "1.png"
    cached = tmp_path / "cache" / "files" / "md5" / "0a" / ("b" * 30)
    cached.parent.mkdir(parents=True)
    file.rename(cached)
    file.symlink_to(cached)
    assert validate_data(context(tmp_path, "image_folder", "data/pets")).summary["num_train"] == 12


def test_more_than_five_failures_are_counted(folder: Path, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for i in range(4):
            (folder / "train" / name / f"{i}.png").write_bytes(b"")
    lines = failure(context(tmp_path, "image_folder", "data/pets", min_images_per_class=1))
    assert "8 of 18" in lines[1]
    assert lines[1].count(".png (") == 5
    assert "and 3 more" in lines[1]


def test_no_image_decodes(folder: Path, tmp_path: Path) -> None:
    for file in folder.rglob("*.png"):
        file.write_bytes(b"")
    assert "18 of 18 images fail" in failure(context(tmp_path, "image_folder", "data/pets"))[1]


@pytest.mark.parametrize("label", [3, -1])
def test_label_out_of_range_is_named(tmp_path: Path, label: int) -> None:
    save_npz(tmp_path, y_test=np.array([0, 1, 2, label, 1, 2]))
    lines = failure(context(tmp_path))
    assert len(lines) == 2
    assert f"every label is in 0..2: 1 of 18 images fail: data/d.npz[x_test:3] ({label})" in lines[1]


def test_empty_class_is_named(folder: Path, tmp_path: Path) -> None:
    for file in (folder / "train" / "eel").iterdir():
        file.unlink()
    lines = failure(context(tmp_path, "image_folder", "data/pets"))
    assert len(lines) == 2
    assert "at least 3 images in train: 1 of 3 classes fail: eel (0)" in lines[1]


def test_class_without_test_images_is_named(tmp_path: Path) -> None:
    save_npz(tmp_path, y_test=np.array([0, 1, 0, 1, 0, 1]))
    assert "at least 1 image in test: 1 of 3 classes fail: eel (0)" in failure(context(tmp_path))[1]


def test_same_image_in_train_and_test_is_named(folder: Path, tmp_path: Path) -> None:
    (folder / "test" / "cat" / "0.png").write_bytes((folder / "train" / "eel" / "3.png").read_bytes())
    lines = failure(context(tmp_path, "image_folder", "data/pets"))
    assert len(lines) == 2
    assert "also in train: 1 of 18 images fail: data/pets/test/cat/0.png (data/pets/train/eel/3.png)" in lines[1]


@pytest.fixture
def with_val(folder: Path) -> Path:
    """The folder with a val image a class."""
    rng = np.random.default_rng(9)
    for name in CLASSES:
        (folder / "val" / name).mkdir(parents=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / "val" / name / "0.png")
    return folder


def test_val_images_of_a_folder_are_published(with_val: Path, tmp_path: Path) -> None:
    checked = context(tmp_path, "image_folder", "data/pets")
    validate_data(checked)
    report = read_json(checked.artifact("validate_data", "validation.json"))
    assert report["num_val"] == 3
    assert report["images_per_class"]["eel"] == {"train": 4, "test": 2, "val": 1}
    data = load_prepared(checked.artifact("validate_data", "dataset.safetensors"))
    assert data.x_val is not None and data.y_val is not None
    assert np.array_equal(data.x_val[1], np.asarray(Image.open(with_val / "val" / "dog" / "0.png")))
    assert data.y_val.tolist() == [0, 1, 2]
    manifest = pd.read_parquet(checked.artifact("validate_data", "manifest.parquet"))
    assert manifest["split"].tolist() == ["train"] * 12 + ["val"] * 3 + ["test"] * 6


def test_without_val_images_nothing_is_said_of_them(folder: Path, tmp_path: Path) -> None:
    checked = context(tmp_path, "image_folder", "data/pets")
    validate_data(checked)
    report = read_json(checked.artifact("validate_data", "validation.json"))
    assert "num_val" not in report and "val" not in report["images_per_class"]["eel"]
    data = load_prepared(checked.artifact("validate_data", "dataset.safetensors"))
    assert data.x_val is None and not data.has_val


def test_val_images_are_checked_like_the_others(with_val: Path, tmp_path: Path) -> None:
    (with_val / "val" / "cat" / "0.png").write_bytes((with_val / "train" / "eel" / "3.png").read_bytes())
    (with_val / "test" / "cat" / "1.png").write_bytes((with_val / "val" / "dog" / "0.png").read_bytes())
    (with_val / "val" / "eel" / "0.png").write_bytes(b"")
    lines = failure(context(tmp_path, "image_folder", "data/pets"))
    assert len(lines) == 4
    assert "every image decodes: 1 of 21 images fail: data/pets/val/eel/0.png" in lines[1]
    copied = "data/pets/val/cat/0.png (data/pets/train/eel/3.png), data/pets/test/cat/1.png (data/pets/val/dog/0.png)"
    assert f"no image is in two of train, val and test: 2 of 21 images fail: {copied}" in lines[2]
    assert "at least 1 image in val: 1 of 3 classes fail: eel (0)" in lines[3]


def test_copies_of_held_out_images_are_left_out_of_train_and_val(with_val: Path, tmp_path: Path) -> None:
    (with_val / "val" / "cat" / "1.png").write_bytes((with_val / "train" / "eel" / "3.png").read_bytes())
    (with_val / "val" / "dog" / "1.png").write_bytes((with_val / "test" / "cat" / "1.png").read_bytes())
    checked = context(tmp_path, "image_folder", "data/pets", drop_copies=True)
    validate_data(checked)
    report = read_json(checked.artifact("validate_data", "validation.json"))
    assert [report[key] for key in ("dropped_copies", "num_train", "num_val", "num_test")] == [2, 11, 4, 6]


def test_copies_in_train_are_left_out_when_asked_for(folder: Path, tmp_path: Path) -> None:
    (folder / "test" / "cat" / "0.png").write_bytes((folder / "train" / "eel" / "3.png").read_bytes())
    checked = context(tmp_path, "image_folder", "data/pets", drop_copies=True)
    validate_data(checked)
    report = read_json(checked.artifact("validate_data", "validation.json"))
    assert (report["dropped_copies"], report["num_train"], report["num_test"]) == (1, 11, 6)


def test_without_a_least_number_classes_may_have_no_images(tmp_path: Path) -> None:
    save_npz(tmp_path, y_test=np.array([0, 1, 0, 1, 0, 1]))
    checked = context(tmp_path, min_images_per_class=0)
    validate_data(checked)
    assert read_json(checked.artifact("validate_data", "validation.json"))["images_per_class"]["eel"]["test"] == 0


def test_constant_image_and_wrong_size_are_two_lines_each_with_its_file(folder: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8, 3), 7, np.uint8)).save(folder / "train" / "cat" / "0.png")
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (9, 8, 3), dtype=np.uint8)).save(
        folder / "test" / "dog" / "1.png"
    )
    text = "\n".join(failure(context(tmp_path, "image_folder", "data/pets")))
    assert "2 of 23 expectations failed" in text
    assert "no image is constant: 1 of 18 images fail: data/pets/train/cat/0.png (0.0)" in text
    assert "every image is 8 pixels high: 1 of 18 images fail: data/pets/test/dog/1.png (9)" in text


def test_image_size_makes_sizes_agree(folder: Path, tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(
        folder / "test" / "dog" / "1.png"
    )
    validate_data(context(tmp_path, "image_folder", "data/pets", image_size=8))
    assert load_prepared(tmp_path / "artifacts" / "validate_data" / "dataset.safetensors").image_shape == (8, 8, 3)


def test_truncated_file_leaves_no_artifact(tmp_path: Path) -> None:
    save_npz(tmp_path)
    file = tmp_path / "data" / "d.npz"
    file.write_bytes(file.read_bytes()[:500])
    lines = failure(context(tmp_path))
    assert len(lines) == 1
    assert "d.npz" in lines[0]


@pytest.mark.parametrize(("handling", "said"), [("ignore", "ignored"), ("apply", "applied")])
def test_an_orientation_is_in_the_manifest(folder: Path, tmp_path: Path, handling: Any, said: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 8
    pixels = np.random.default_rng(7).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "train" / "dog" / "9.png", exif=exif)
    checked = context(tmp_path, "image_folder", "data/pets", exif=handling)
    validate_data(checked)
    manifest = pd.read_parquet(checked.artifact("validate_data", "manifest.parquet")).set_index("path")["exif"]
    assert manifest["data/pets/train/dog/9.png"] == said and manifest.isna().sum() == len(manifest) - 1
    report = read_json(checked.artifact("validate_data", "validation.json"))
    assert report["exif"] == {"orientations": 1, "handling": handling}
    assert len(report.get("warnings", [])) == (handling == "ignore")
    (found,) = load_prepared(checked.artifact("validate_data", "dataset.safetensors")).x_train[[8]]
    assert np.array_equal(found, pixels if handling == "ignore" else np.rot90(pixels))


def test_doubts_about_images_are_published(folder: Path, tmp_path: Path) -> None:
    (folder / "train" / "dog" / "9.png").write_bytes((folder / "train" / "cat" / "0.png").read_bytes())
    (folder / "train" / "Thumbs.db").write_bytes(b"x")
    checked = context(tmp_path, "image_folder", "data/pets")
    validate_data(checked)
    (text,) = read_json(checked.artifact("validate_data", "validation.json"))["warnings"]
    assert "train/cat/0.png (cat) and" in text and "train/dog/9.png (dog)" in text
