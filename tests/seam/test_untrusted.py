"""Files that were damaged or made to break their reader: one typed line, no memory asked for that they do not fill."""

from __future__ import annotations

import copy
import json
import pickle
import re
import resource
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import nn

from seam.composition.heads import make_head
from seam.composition.module import Piece
from seam.composition.pack import CARD, Pack, load_pack, save_pack
from seam.configs.networks import SourceConfig
from seam.data.formats.load import load_raw
from seam.data.prepared import ImageData, load_prepared, save_prepared
from seam.errors import (
    ConfigError,
    DamagedFileError,
    DataError,
    ExportError,
    MaskError,
    SeamError,
    SourceError,
    SuspectResultWarning,
)
from seam.files import beside, read_json, sha256_file, write_json
from seam.inference.variants import input_of
from seam.masks.pack import load_mask_pack, save_mask_pack
from seam.networks.build import build
from seam.networks.checkpoints.read import read_state_dict
from seam.networks.checkpoints_online import fetch_state_dict
from seam.networks.norms import load_norms, norm_tensors, save_norms
from seam.networks.source import SourceInfo, load_source, save_source

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (4, 8, 8, 1), dtype=np.uint8)
LABELS = np.array([0, 1, 0, 1])
WEIGHTS = {"a.weight": torch.ones(2, 3), "b.bias": torch.arange(4.0)}
MASKS = {"a.weight": torch.tensor([[True, False, True], [False, True, True]])}
NETWORK = """
from torch import nn


def net(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(192, num_classes))
"""
FLOAT = 1  # of onnx.TensorProto
FUZZED = 120
"""Mutations of each file."""


def a_source(folder: Path) -> Path:
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    (folder / "net.py").write_text(NETWORK)
    info = SourceInfo(
        architecture=f"{folder / 'net.py'}:net",
        num_classes=3,
        classes=("a", "b", "c"),
        mean=(0.5, 0.5, 0.5),
        std=(0.2, 0.2, 0.2),
        image_shape=(8, 8, 3),
        params_total=579,
    )
    save_source(network, info, folder)
    return folder / "source.json"


def a_pack(folder: Path) -> Path:
    pieces = {"x": Piece(MASKS, make_head("linear", 2, 0)), "y": Piece(MASKS, make_head("read_out", 2, 1))}
    save_pack(Pack(pieces, "s" * 64, 2, {"made": "here"}), folder)
    return folder / CARD


def an_npz(folder: Path, **more: Any) -> Path:
    arrays = {"x_train": PIXELS, "y_train": LABELS, "x_test": PIXELS, "y_test": LABELS, **more}
    np.savez_compressed(folder / "data.npz", **arrays)
    return folder / "data.npz"


def saved(write: Callable[[Path], object], name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        write(folder / name)
        return folder / name

    return make


def an_index(folder: Path) -> Path:
    torch.save(WEIGHTS, folder / "one.bin")
    write_json(folder / "w.index.json", {"metadata": {}, "weight_map": dict.fromkeys(WEIGHTS, "one.bin")})
    return folder / "w.index.json"


def exported(path: Path) -> None:
    torch.export.save(torch.export.export(nn.Linear(2, 3), (torch.zeros(1, 2),)), path)


NORMED = build("resnet20", 2)
READERS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], object]]] = {
    "torch.save": (
        saved(lambda p: torch.save({"model": WEIGHTS, "epoch": 3, "log": [1.0, "x"]}, p), "w.pth"),
        read_state_dict,
    ),
    "torch.save before 1.6": (
        saved(lambda p: torch.save(WEIGHTS, p, _use_new_zipfile_serialization=False), "w.pth"),
        read_state_dict,
    ),
    "torch.export": (saved(exported, "w.pt2"), read_state_dict),
    "an index": (an_index, read_state_dict),
    "mask pack": (saved(lambda p: save_mask_pack(MASKS, "s", p), "mask.safetensors"), load_mask_pack),
    "module pack": (a_pack, lambda path: load_pack(path.parent)),
    "source": (a_source, lambda path: load_source(path.parent)),
    "npz": (an_npz, lambda path: load_raw("npz", path)),
    "safetensors": (
        saved(lambda p: save_prepared(ImageData(PIXELS, LABELS, PIXELS, LABELS, ("a", "b")), p), "d.safetensors"),
        lambda path: load_raw("safetensors", path),
    ),
    "prepared data": (
        saved(lambda p: save_prepared(ImageData(PIXELS, LABELS, PIXELS, LABELS, ("a", "b")), p), "d.safetensors"),
        load_prepared,
    ),
    "norms": (saved(lambda p: save_norms(norm_tensors(NORMED), p), "n.safetensors"), lambda p: load_norms(NORMED, p)),
    "JSON": (saved(lambda p: write_json(p, {"a": [1, {"b": "c"}]}), "x.json"), read_json),
}


def mutations(content: bytes) -> Iterator[bytes]:
    """Bytes changed, cut off, left out, repeated; more of them near the start, where the headers are."""
    rng = np.random.default_rng(1)
    for number in range(FUZZED):
        damaged = bytearray(content)
        most = len(damaged) if number % 3 else min(len(damaged), 400)
        at, size = int(rng.integers(most)), int(rng.integers(1, 9))
        match number % 5:
            case 0 | 1:
                damaged[at : at + size] = rng.integers(0, 256, len(damaged[at : at + size]), dtype=np.uint8).tobytes()
            case 2:
                damaged[at] ^= 1 << int(rng.integers(8))
            case 3:
                damaged = damaged[:at] if number % 2 else damaged[:at] + damaged[at + size :]
            case _:
                damaged[at:at] = damaged[at : at + 8 * size]
        yield bytes(damaged)


WRONG: list[Any] = [None, "x", "", -1, 0, 10**12, 1e300, True, [], ["x"], [10**12], [[[]]], {}, {"x": 1}]


def wrong_values(content: Any) -> Iterator[Any]:
    """A JSON with one value replaced by each wrong one, or taken away; at all depths."""
    for key in content if isinstance(content, dict) else range(min(2, len(content))):
        for value in WRONG:
            yield {**content, key: value} if isinstance(content, dict) else [*content[:key], value, *content[key + 1 :]]
        if isinstance(content, dict):
            yield {k: v for k, v in content.items() if k != key}
        if isinstance(content[key], (dict, list)):
            for inside in wrong_values(content[key]):
                made = copy.deepcopy(content)
                made[key] = inside
                yield made


def read_or_one_line(read: Callable[[Path], object], path: Path) -> None:
    """Whatever is wrong with it, it is read, or refused with a line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(path)
    except SeamError as e:
        said = str(e)
    else:
        said = ""
    assert "\n" not in said and len(said) < 1500


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_one_line(name: str, tmp_path: Path) -> None:
    make, read = READERS[name]
    path = make(tmp_path)
    read(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for file in sorted(tmp_path.iterdir()):
        if file.suffix == ".py":
            continue
        content = file.read_bytes()
        for damaged in mutations(content):
            file.write_bytes(damaged)
            read_or_one_line(read, path)
        file.write_bytes(content)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000  # kB


@pytest.mark.parametrize("name", ["an index", "module pack", "source"])
def test_wrong_values_in_json_are_one_line(name: str, tmp_path: Path) -> None:
    make, read = READERS[name]
    path = make(tmp_path)
    for wrong in wrong_values(json.loads(path.read_text())):
        path.write_text(json.dumps(wrong))
        read_or_one_line(read, path)


@pytest.mark.parametrize("shape", [[1 << 39], [1 << 20, 1 << 20], [-1, 6], [2.0, 3], "ab", None, [True], {}])
def test_a_mask_says_no_more_than_its_bytes(shape: Any, tmp_path: Path) -> None:
    save_mask_pack(MASKS, "s", tmp_path / "m")
    with safe_open(tmp_path / "m", framework="numpy") as f:
        about, bits = json.loads(f.metadata()["seam"]), f.get_tensor("a.weight")
    about["shapes"]["a.weight"] = shape
    save_file({"a.weight": bits}, tmp_path / "m", metadata={"seam": json.dumps(about)})
    with pytest.raises(MaskError, match="expected a mask pack"):
        load_mask_pack(tmp_path / "m")


def test_a_mask_of_many_zeros_is_read(tmp_path: Path) -> None:
    masks = {"a": torch.zeros(4_000_000, dtype=torch.bool)}
    save_mask_pack(masks, "s", tmp_path / "m")
    assert (tmp_path / "m").stat().st_size < 2000
    assert torch.equal(load_mask_pack(tmp_path / "m").masks["a"], masks["a"])


def test_a_mask_pack_without_its_hash(tmp_path: Path) -> None:
    save_mask_pack(MASKS, "s", tmp_path / "m")
    with safe_open(tmp_path / "m", framework="numpy") as f:
        about, bits = json.loads(f.metadata()["seam"]), f.get_tensor("a.weight")
    del about["mask_sha256"]
    save_file({"a.weight": bits}, tmp_path / "m", metadata={"seam": json.dumps(about)})
    with pytest.raises(MaskError, match="expected 'mask_sha256' in it"):
        load_mask_pack(tmp_path / "m")


def test_a_pack_of_more_outputs_than_its_heads_have(tmp_path: Path) -> None:
    path = a_pack(tmp_path)
    write_json(path, {**json.loads(path.read_text()), "outputs": 10**12})
    with pytest.raises(MaskError, match="expected a pack of modules"):
        load_pack(tmp_path)


def with_header(folder: Path, shape: tuple[int, ...], name: str = "x_train") -> Path:
    """An npz whose array has few bytes, and a header that says more."""
    path = an_npz(folder)
    with zipfile.ZipFile(path) as archive:
        entries = {entry: archive.read(entry) for entry in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, content in entries.items():
            if entry == f"{name}.npy":
                about = {"descr": "|u1" if name[0] == "x" else "<i8", "fortran_order": False, "shape": shape}
                with archive.open(entry, "w") as member:
                    np.lib.format.write_array_header_1_0(member, about)  # type: ignore[arg-type]
                    member.write(bytes(100))
            else:
                archive.writestr(entry, content)
    return path


@pytest.mark.parametrize(
    ("name", "shape"), [("x_train", (10**6, 2000, 32)), ("y_train", (8 * 10**9,)), ("x_test", (-4, 8, 8))]
)
def test_an_array_says_no_more_than_its_bytes(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"{name}\]: expected (the .* bytes of shape|a plain array)"):
        load_raw("npz", with_header(tmp_path, shape, name))


def test_an_archive_that_is_made_to_fill_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seam.files.SMALL", 1 << 20)
    blank = np.zeros((100, 256, 256, 1), np.uint8)
    with pytest.raises(DataError, match=r"at most 200 times its size unpacked, got .* bytes that become 6,5"):
        load_raw("npz", an_npz(tmp_path, x_train=blank, y_train=np.zeros(100, int)))
    torch.save(WEIGHTS, tmp_path / "w.pth")
    with (
        zipfile.ZipFile(tmp_path / "w.pth") as stored,
        zipfile.ZipFile(tmp_path / "z.pth", "w", zipfile.ZIP_DEFLATED) as z,
    ):
        for entry in stored.namelist():
            z.writestr(entry, stored.read(entry) + bytes(10**6))
    with pytest.raises(SourceError, match="at most 8 times its size unpacked"):
        read_state_dict(tmp_path / "z.pth")


def pickled_again(path: Path, change: Callable[[bytes], bytes]) -> None:
    """A file of torch.save with its instructions changed."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry: archive.read(entry) for entry in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for entry, content in entries.items():
            archive.writestr(entry, change(content) if entry.endswith("data.pkl") else content)


def test_tensors_say_no_more_than_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"w": torch.ones(7)}, path)
    one_byte = b"K\x07t"  # BININT1 7, TUPLE: the number of values in the storage
    pickled_again(path, lambda content: content.replace(one_byte, b"J\x00\x00\x00\x7ft"))
    with pytest.raises(SourceError, match="of which there are fewer"):
        read_state_dict(path)
    old = tmp_path / "old.pth"
    torch.save({"w": torch.ones(7)}, old, _use_new_zipfile_serialization=False)
    content = old.read_bytes()
    assert content.count(b"K\x07N") == 1
    old.write_bytes(content.replace(b"K\x07N", b"J\x00\x00\x00\x7fN"))
    with pytest.raises(SourceError, match="of which there are fewer"):
        read_state_dict(old)


def test_a_tensor_that_repeats_one_value_a_billion_times(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1).expand(10**5, 10**5)}, tmp_path / "w.pth")
    with pytest.raises(SourceError, match=r"'w' of shape \(100000, 100000\) with 1 stored values"):
        read_state_dict(tmp_path / "w.pth")
    torch.save({"w": torch.ones(1).expand(3, 4)}, tmp_path / "w.pth")
    assert read_state_dict(tmp_path / "w.pth")["w"].shape == (3, 4)


class Runs:
    """What is run when it is unpickled."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(1, pickle.HIGHEST_PROTOCOL + 1))
def test_a_refused_pickle_says_what_it_would_have_run(protocol: int, tmp_path: Path) -> None:
    import subprocess

    ran = tmp_path / "ran"
    bad = Runs(subprocess.check_output, (["touch", str(ran)],))
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"epoch": 3, "model": [bad]}, protocol))
    with pytest.raises(SourceError, match=r"refused.*loading it would run subprocess\.check_output\(\['touch', '/"):
        read_state_dict(tmp_path / "w.pkl")
    assert not ran.exists()


def test_a_checkpoint_that_would_run_something_is_read_with_a_doubt(tmp_path: Path) -> None:
    torch.save({"model": WEIGHTS, "hook": Runs(exec, ("print('hello')",))}, tmp_path / "w.pth")
    with pytest.warns(SuspectResultWarning, match=r"an instruction to run builtins\.exec\(\"print\('hello'\)\"\)"):
        found = read_state_dict(tmp_path / "w.pth")
    assert found.keys() == {f"model.{name}" for name in WEIGHTS}


def test_a_pickle_that_holds_itself_a_billion_times_is_said_in_short(tmp_path: Path) -> None:
    laugh: Any = ("ha", "ha")
    for _ in range(60):
        laugh = (laugh, laugh)
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(Runs(eval, (laugh,)), 4))
    with pytest.raises(SourceError, match=r"would run builtins\.eval\(\(\(\(") as caught:
        read_state_dict(tmp_path / "w.pkl")
    assert len(str(caught.value)) < 600


def test_links_that_lead_out_of_a_folder_are_not_followed(tmp_path: Path) -> None:
    outside, inside = tmp_path / "secret.bin", tmp_path / "given"
    inside.mkdir()
    path = an_index(inside)
    (inside / "one.bin").rename(outside)
    (inside / "one.bin").symlink_to(outside)
    with pytest.raises(SourceError, match=r"names 'one\.bin', which leads out of its folder"):
        read_state_dict(path)
    packed = tmp_path / "pack"
    card = a_pack(packed)
    (file,) = packed.glob("*.safetensors")
    file.rename(tmp_path / file.name)
    file.symlink_to(tmp_path / file.name)
    with pytest.raises(MaskError, match="leads out of its folder"):
        load_pack(card.parent)


def test_a_cache_that_shows_its_files_by_links_is_read(tmp_path: Path) -> None:
    blobs, shown = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    shown.mkdir()
    path = an_index(blobs)
    for name in (path.name, "one.bin"):
        (shown / name).symlink_to(blobs / name)
    assert read_state_dict(shown / path.name).keys() == WEIGHTS.keys()


def test_beside_takes_plain_files_alone(tmp_path: Path) -> None:
    card = tmp_path / "card.json"
    (tmp_path / "folder").mkdir()
    assert beside(card, "a.bin") == tmp_path / "a.bin"
    for name, words in {"../a.bin": "leads out", "/etc/passwd": "leads out", "folder": "a plain file"}.items():
        with pytest.raises(DamagedFileError, match=words):
            beside(card, name)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff{}", "expected JSON, got 'utf-8' codec"),
        (b"[1]", "expected a JSON object, got a list"),
        (b'{"a":' * 100_000, "expected JSON, got maximum recursion depth"),
        (b"{} {}", "expected JSON, got Extra data"),
        (b" " * 2000, "expected at most 1,000 bytes of JSON, got more"),
    ],
)
def test_json_that_is_not_an_object_is_one_line(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(DamagedFileError, match=words) as caught:
        read_json(tmp_path / "x.json", most_bytes=1000 if b" " * 9 in content else 1 << 26)
    assert "\n" not in str(caught.value)


def test_a_key_that_json_lacks_is_named_with_its_file(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": {"b": 1}})
    found = read_json(tmp_path / "x.json")
    assert found == {"a": {"b": 1}} and found["a"].get("c") is None
    with pytest.raises(KeyError, match=r"x\.json: expected 'c' in it, got none; make it anew\."):
        found["a"]["c"]


def png_header(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it has so many pixels."""
    about = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", about) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


PICTURES = {
    "a bomb": (png_header(60_000, 60_000), "exceeds limit of 178956970 pixels"),
    "more than Pillow warns of": (png_header(10_000, 9_000), "expected at most 89,478,485 pixels, got 10000 x 9000"),
    "many pixels and a wrong checksum": (
        png_header(10_000, 9_000)[:-1] + b"x",
        "expected at most 89,478,485 pixels, got 10000 x 9000",
    ),
    "a program": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(x) print\n", "cannot identify"),
    "fewer pixels than it says": (png_header(64, 64), "truncated|broken"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_that_is_made_to_fill_memory_or_to_run_something(name: str, tmp_path: Path) -> None:
    content, words = PICTURES[name]
    for split in ("train", "test"):
        (tmp_path / split / "a").mkdir(parents=True)
        (tmp_path / split / "a" / "x.png").write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for image in load_raw("image_folder", tmp_path, 8).images:
        assert image.pixels is None and image.error is not None and re.search(words, image.error)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_damaged_pictures_are_one_line(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split / "a").mkdir(parents=True)
    pixels = Image.fromarray(RNG.integers(0, 256, (9, 8, 3), dtype=np.uint8))
    for suffix in ("png", "jpg", "gif", "bmp", "tiff", "webp", "ppm"):
        pixels.save(tmp_path / f"x.{suffix}")
        for number, damaged in enumerate(mutations((tmp_path / f"x.{suffix}").read_bytes())):
            split = ("train", "test")[number % 2]
            (tmp_path / split / "a" / f"{number:03}.{suffix}").write_bytes(damaged)
    found = load_raw("image_folder", tmp_path, 8).images
    assert len(found) == 7 * FUZZED
    assert all("\n" not in image.error for image in found if image.error is not None)


def test_a_picture_so_long_that_its_size_would_fill_memory(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split / "a").mkdir(parents=True)
        Image.new("L", (400_000, 1)).save(tmp_path / split / "a" / "x.png")
    (image, _) = load_raw("image_folder", tmp_path, 64).images
    assert image.error is not None and "400000 x 1" in image.error


def test_a_file_is_the_one_that_its_hash_is_of(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "w.pth")
    digest = sha256_file(tmp_path / "w.pth")
    assert read_state_dict(tmp_path / "w.pth", sha256=digest.upper()).keys() == WEIGHTS.keys()
    with pytest.raises(SourceError, match=rf"expected the file with sha256 {'0' * 64}, got {digest}"):
        read_state_dict(tmp_path / "w.pth", sha256="0" * 64)
    with pytest.raises(SourceError, match="names several files, which have no one hash"):
        read_state_dict(an_index(tmp_path), sha256=digest)
    for checkpoint in ("hub:a/b:c", "torchvision:DEFAULT"):
        with pytest.raises(SourceError, match="weights that come without"):
            fetch_state_dict(checkpoint, "torchvision:resnet18", digest)
    with pytest.raises(ConfigError, match="sha256 must be 64 hex digits, got abc"):
        SourceConfig(checkpoint="w.pth", sha256="abc")
    with pytest.raises(ConfigError, match="sha256 is of a given checkpoint"):
        SourceConfig(sha256=digest)


def test_an_onnx_model_keeps_its_weights_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_bytes(bytes(16))
    weight = onnx.helper.make_tensor("w", FLOAT, [4], np.zeros(4, np.float32).tobytes(), raw=True)
    kinds = [onnx.helper.make_tensor_value_info(n, FLOAT, ["batch", 4]) for n in ("x", "y")]
    node = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    for location, words in {"../secret": "leads out of its folder", "none.bin": "expected an ONNX model"}.items():
        outside = copy.deepcopy(weight)
        onnx.external_data_helper.set_external_data(outside, location)
        outside.ClearField("raw_data")
        graph = onnx.helper.make_graph([node], "g", kinds[:1], kinds[1:], [outside])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
        (tmp_path / "in" / "m.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(ExportError, match=words):
            input_of(tmp_path / "in" / "m.onnx")
    graph = onnx.helper.make_graph([node], "g", kinds[:1], kinds[1:], [weight])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "in" / "m.onnx"
    path.write_bytes(model.SerializeToString())
    assert input_of(path).shape == (4,)
    for damaged in mutations(path.read_bytes()):
        path.write_bytes(damaged)
        read_or_one_line(input_of, path)
