"""Raw data sets: what is read, and one line for everything that is not as it should be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from seam.data.formats import cifar
from seam.data.formats import tensors as formats_tensors
from seam.data.formats.load import class_names, fetch, load_raw
from seam.data.prepared import ImageData, save_prepared
from seam.data.resize import resize_and_crop
from seam.errors import DataError
from tasks.inputs.manifest import assemble


def arrays(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    good = {
        "x_train": rng.integers(0, 256, (6, 8, 8, 1), dtype=np.uint8),
        "y_train": np.arange(6) % 3,
        "x_test": rng.integers(0, 256, (3, 8, 8, 1), dtype=np.uint8),
        "y_test": np.arange(3),
    }
    return {k: v for k, v in {**good, **changes}.items() if v is not None}


def fails(path: Path, *words: str, kind: Any = "npz") -> None:
    with pytest.raises(DataError) as caught:
        load_raw(kind, path)
    message = str(caught.value)
    assert "\n" not in message
    for word in (str(path), *words):
        assert word in message, message


def test_npz_is_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    content = arrays(classes=np.array(["cat", "dog", "eel"]))
    np.savez(path, **content)
    data = load_raw("npz", path)
    assert data.classes == ("cat", "dog", "eel")
    assert [i.split for i in data.images] == ["train"] * 6 + ["test"] * 3
    fifth = data.images[4]
    assert (fifth.path, fifth.label, fifth.mode) == (f"{path}[x_train:4]", 1, "L")
    assert fifth.pixels is not None
    assert np.array_equal(fifth.pixels, content["x_train"][4])


def test_npz_with_images_for_val(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    content = arrays(x_val=np.full((2, 8, 8, 1), 7, np.uint8), y_val=np.array([2, 0]))
    np.savez(path, **content)
    data = load_raw("npz", path)
    assert [i.split for i in data.images] == ["train"] * 6 + ["val"] * 2 + ["test"] * 3
    assert [(i.path, i.label) for i in data.images[6:8]] == [(f"{path}[x_val:0]", 2), (f"{path}[x_val:1]", 0)]


def test_npz_gray_without_channel_and_default_classes(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    content = arrays()
    np.savez(path, **{**content, "x_train": content["x_train"][..., 0], "x_test": content["x_test"][..., 0]})
    data = load_raw("npz", path)
    assert data.classes == ("0", "1", "2")
    assert data.images[0].pixels is not None
    assert data.images[0].pixels.shape == (8, 8, 1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"y_test": None}, ("missing: y_test",)),
        ({"x_train": np.zeros((6, 8, 8, 1))}, ("x_train", "float64")),
        ({"x_train": np.zeros((6, 8, 8, 2), np.uint8)}, ("x_train", "(6, 8, 8, 2)")),
        ({"x_test": np.zeros((0, 8, 8, 1), np.uint8), "y_test": np.zeros(0, int)}, ("x_test", "(0, 8, 8, 1)")),
        ({"x_val": np.zeros((2, 8, 8, 1), np.uint8)}, ("x_val and y_val or neither", "x_val alone")),
        ({"y_val": np.arange(2)}, ("y_val alone",)),
        ({"x_val": np.zeros((2, 8, 8, 1), np.uint8), "y_val": np.arange(3)}, ("y_val", "2 labels", "in x_val, got 3")),
        ({"y_train": np.arange(5)}, ("y_train", "6 labels", "got 5")),
        ({"y_train": np.zeros(6)}, ("y_train", "float64")),
        ({"classes": np.array(["a", "a", "b"])}, ("classes", "'a'")),
        ({"classes": np.array([["a"]])}, ("classes", "(1, 1)")),
    ],
)
def test_wrong_npz_is_one_line(tmp_path: Path, changes: dict[str, Any], words: tuple[str, ...]) -> None:
    path = tmp_path / "d.npz"
    np.savez(path, **arrays(**changes))
    fails(path, *words)


def test_missing_npz(tmp_path: Path) -> None:
    fails(tmp_path / "no.npz", "no such file")


def test_something_else_called_npz(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    np.save(path.open("wb"), np.zeros(3))
    fails(path, "expected an .npz file")
    path.write_bytes(b"")
    fails(path, "expected an .npz file")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_npz(tmp_path: Path, share: float) -> None:
    path = tmp_path / "d.npz"
    np.savez(path, **arrays())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    fails(path, "expected an .npz file")


def test_flipped_byte_in_npz(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    np.savez(path, **arrays())
    content = bytearray(path.read_bytes())
    content[300] ^= 255  # inside x_train
    path.write_bytes(content)
    fails(path, "x_train", "damaged")


def tensors(path: Path, classes: Any = None, **changes: Any) -> Path:
    """The same arrays in a safetensors file."""
    about = None if classes is None else {"classes": classes if isinstance(classes, str) else json.dumps(classes)}
    save_file({name: np.ascontiguousarray(array) for name, array in arrays(**changes).items()}, path, about)
    return path


def test_safetensors_are_read_as_npz_is(tmp_path: Path) -> None:
    path = tensors(
        tmp_path / "d.safetensors", ["cat", "dog", "eel"], x_val=np.ones((2, 8, 8, 1), np.uint8), y_val=[2, 0]
    )
    data = load_raw("safetensors", path)
    assert data.classes == class_names("safetensors", path) == ("cat", "dog", "eel")
    assert [(i.split, i.label) for i in data.images[5:8]] == [("train", 2), ("val", 2), ("val", 0)]
    fifth = data.images[4]
    assert (fifth.path, fifth.label, fifth.mode) == (f"{path}[x_train:4]", 1, "L")
    assert fifth.pixels is not None and np.array_equal(fifth.pixels, arrays()["x_train"][4])


def test_images_of_a_safetensors_file_are_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats_tensors, "_PIECE", 130)  # two images and a bit
    content = arrays()["x_train"][..., 0]
    data = load_raw("safetensors", tensors(tmp_path / "d.safetensors", x_train=content))
    assert all(np.array_equal(i.pixels[..., 0], x) for i, x in zip(data.images, content, strict=False))  # type: ignore[index]
    assert data.classes == class_names("safetensors", tmp_path / "d.safetensors") == ("0", "1", "2")


def test_a_prepared_data_set_is_such_a_file_and_comes_out_as_the_same_bytes(tmp_path: Path) -> None:
    found = ImageData(**arrays(), classes=("a", "b", "c"))
    save_prepared(found, tmp_path / "one.safetensors")
    save_prepared(assemble(load_raw("safetensors", tmp_path / "one.safetensors")), tmp_path / "two.safetensors")
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("classes", "changes", "words"),
    [
        (None, {"y_test": None}, ("missing: y_test",)),
        (None, {"x_train": np.zeros((6, 8, 8, 1), np.float32)}, ("x_train", "F32")),
        (None, {"x_train": np.zeros((6, 8, 8, 2), np.uint8)}, ("x_train", "(6, 8, 8, 2)")),
        (None, {"x_test": np.zeros((0, 8, 8, 1), np.uint8), "y_test": np.zeros(0, int)}, ("x_test", "(0, 8, 8, 1)")),
        (None, {"x_val": np.zeros((2, 8, 8, 1), np.uint8)}, ("x_val and y_val or neither", "x_val alone")),
        (None, {"y_train": np.arange(5)}, ("y_train", "6 labels", "got 5")),
        (None, {"y_train": np.zeros(6)}, ("y_train", "F64")),
        (["a", "a", "b"], {}, ("classes", "'a'")),
        ([], {}, ("classes", "(0,)")),
        ([1, 2, 3], {}, ("classes", "list of text in JSON", "[1, 2, 3]")),
        ("a, b, c", {}, ("classes", "list of text in JSON", "a, b, c")),
    ],
)
def test_wrong_safetensors_are_one_line(
    tmp_path: Path, classes: Any, changes: dict[str, Any], words: tuple[str, ...]
) -> None:
    fails(tensors(tmp_path / "d.safetensors", classes, **changes), *words, kind="safetensors")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9, 0.999])
def test_truncated_safetensors(tmp_path: Path, share: float) -> None:
    path = tensors(tmp_path / "d.safetensors")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    fails(path, "expected a .safetensors file", kind="safetensors")
    fails(tmp_path / "no.safetensors", "no such file, expected a .safetensors file", kind="safetensors")


class _Bomb:
    """Unpickled, it makes the file `executed`."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


def test_npz_with_objects_is_refused_and_executes_nothing(tmp_path: Path) -> None:
    path, marker = tmp_path / "d.npz", tmp_path / "executed"
    np.savez(path, **arrays(y_train=np.array([_Bomb(marker)] * 6, dtype=object)))
    fails(path, "y_train", "execute code")
    assert not marker.exists()
    np.load(path, allow_pickle=True)["y_train"]
    assert marker.exists(), "the planted bomb works when it is unpickled"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 3), ("test", 2)):
        for name in ("cat", "dog"):
            (tmp_path / "root" / split / name).mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 256, (10, 12), dtype=np.uint8)).save(
                    tmp_path / "root" / split / name / f"{i}.png"
                )
    return tmp_path / "root"


def test_image_folder(folder: Path) -> None:
    (folder / "train" / "cat" / ".DS_Store").write_bytes(b"x")
    data = load_raw("image_folder", folder)
    assert data.classes == ("cat", "dog")
    assert [i.label for i in data.images] == [0, 0, 0, 1, 1, 1, 0, 0, 1, 1]
    first = data.images[0]
    assert first.path == str(folder / "train" / "cat" / "0.png")
    assert first.mode == "L"
    assert first.pixels is not None
    assert np.array_equal(first.pixels[..., 0], np.asarray(Image.open(first.path)))


def test_image_folder_with_val(folder: Path) -> None:
    shutil.copytree(folder / "test", folder / "val")
    data = load_raw("image_folder", folder)
    assert [(i.split, i.label) for i in data.images[6:]] == [(s, c) for s in ("val", "test") for c in (0, 0, 1, 1)]
    assert data.images[6].path == str(folder / "val" / "cat" / "0.png")
    shutil.rmtree(folder / "val" / "dog")
    fails(folder, str(folder / "val"), "the folder 'dog' is missing", kind="image_folder")


def test_one_colour_image_makes_all_rgb(folder: Path) -> None:
    red = np.full((10, 12, 3), (200, 0, 0), dtype=np.uint8)
    Image.fromarray(red).save(folder / "test" / "dog" / "1.png")
    data = load_raw("image_folder", folder)
    assert {i.mode for i in data.images} == {"RGB"}
    assert np.array_equal(data.images[-1].pixels, red)
    gray = np.asarray(Image.open(data.images[0].path))
    assert np.array_equal(data.images[0].pixels, np.stack([gray] * 3, axis=2))


def test_corrupt_and_16_bit_images_come_with_their_error(folder: Path) -> None:
    bad = folder / "train" / "cat" / "1.png"
    bad.write_bytes(bad.read_bytes()[:60])
    Image.fromarray(np.full((10, 12), 40000, dtype=np.uint16)).save(folder / "train" / "dog" / "0.png")
    errors = {i.path: i.error for i in load_raw("image_folder", folder).images if i.pixels is None}
    assert set(errors) == {str(bad), str(folder / "train" / "dog" / "0.png")}
    assert all(errors.values())
    assert "8 bits" in str(errors[str(folder / "train" / "dog" / "0.png")])


def test_wrong_folders(folder: Path) -> None:
    fails(folder / "nowhere", "no such folder", kind="image_folder")
    (folder / "test" / "emu").mkdir()
    fails(folder, "'emu' is missing", kind="image_folder")
    (folder / "test" / "emu").rmdir()
    (folder / "train" / "a.png").write_bytes(b"")
    fails(folder, "a.png", "class folders", kind="image_folder")


def test_resize_scales_the_short_side_and_crops_the_centre() -> None:
    wide = np.zeros((4, 12, 1), np.uint8)
    wide[:, 4:8] = 90  # the middle third
    assert np.array_equal(resize_and_crop(wide, 4), np.full((4, 4, 1), 90))
    high = np.zeros((16, 8, 3), np.uint8)
    high[4:12] = (10, 20, 30)
    small = resize_and_crop(high, 4)
    assert small.shape == (4, 4, 3)
    assert small[1, 1].tolist() == [10, 20, 30]
    assert small[2, 3].tolist() == [10, 20, 30]
    same = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    assert resize_and_crop(same, 8) is same


def test_image_size_applies_to_every_kind(tmp_path: Path, folder: Path) -> None:
    np.savez(tmp_path / "d.npz", **arrays())
    for data in (load_raw("npz", tmp_path / "d.npz", 9), load_raw("image_folder", folder, 9)):
        assert {i.pixels.shape for i in data.images if i.pixels is not None} == {(9, 9, 1)}


class _FakeCifar:
    classes = ("apple", "bear")

    def __init__(self, root: Path, train: bool, download: bool) -> None:
        if download:
            raise URLError("Name or service not known")
        self.targets = [1, 0] if train else [0]
        self.data = np.zeros((len(self.targets), 32, 32, 3), np.uint8)


def test_cifar_through_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar, "_torchvision", lambda kind: _FakeCifar)
    data = load_raw("cifar100", tmp_path)
    assert data.classes == ("apple", "bear")
    assert [(i.path, i.label) for i in data.images] == [
        (f"{tmp_path}[train:0]", 1),
        (f"{tmp_path}[train:1]", 0),
        (f"{tmp_path}[test:0]", 0),
    ]


def test_no_network_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar, "_torchvision", lambda kind: _FakeCifar)
    with pytest.raises(
        DataError, match=r"cifar10 is not there and could not be downloaded.*Name or service not known"
    ) as caught:
        fetch("cifar10", tmp_path)
    assert "\n" not in str(caught.value)
    fetch("npz", tmp_path)  # nothing to do


def test_damaged_cifar_is_never_opened(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"not the published bytes")
    fails(tmp_path, "MD5", kind="cifar10")


def test_class_names_come_without_the_images(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar, "_torchvision", lambda kind: _FakeCifar)
    for name, content in {"named": {"classes": np.array(["cat", "dog", "eel"])}, "numbered": {}}.items():
        np.savez(tmp_path / f"{name}.npz", **arrays(**content, x_train=np.zeros(3)))  # not images
    assert class_names("npz", tmp_path / "named.npz") == ("cat", "dog", "eel")
    assert class_names("npz", tmp_path / "numbered.npz") == ("0", "1", "2")
    assert class_names("cifar10", tmp_path) == class_names("cifar100", tmp_path) == ("apple", "bear")
    assert class_names("image_folder", folder) == load_raw("image_folder", folder).classes
    with pytest.raises(DataError, match="no such folder"):
        class_names("image_folder", tmp_path / "none")
