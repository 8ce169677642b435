"""What is fuzzed: how a good input is made, how it is read, and what an independent reader says of a damaged one."""

from __future__ import annotations

import json
import math
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from ruamel.yaml import YAML
from safetensors.torch import save_file

from seam.composition.pack import load_pack
from seam.data.formats.load import load_raw
from seam.data.prepared import ImageData, load_prepared, save_prepared
from seam.files import read_json
from seam.masks.pack import load_mask_pack, save_mask_pack
from seam.networks.checkpoints.read import read_state_dict
from seam.networks.source import load_source
from tasks.project.params import load_params
from tasks.tracking.policy import load_policy
from tests.defaults import POLICY, write_params
from tests.fuzz.mutate import damaged_bytes, damaged_text, damaged_values
from tests.seam.test_untrusted import LABELS, MASKS, PIXELS, WEIGHTS, a_pack, a_source, an_index, an_npz

Damage = Callable[[bytes, random.Random], bytes]
Content = dict[str, tuple[list[int], bytes]]


class Unreadable(Exception):
    """What an independent reader says of a file that is damaged."""


@dataclass(frozen=True)
class Target:
    """One kind of input."""

    make: Callable[[Path], Path]
    """Writes a good one into a folder; the path that is read."""
    read: Callable[[Path], Any]
    """The product's reader, to plain values that compare."""
    truth: Callable[[Path], Any] | None = None
    """The same by other means, of whatever lies there; None: only the undamaged value is right."""
    agrees: Callable[[Any, Any], bool] = lambda read, truth: bool(read == truth)
    damage: tuple[Damage, ...] = (damaged_bytes,)
    files: str = "*"
    """Pattern of the files beside it that are damaged, of which one is each time."""


def written(write: Callable[[Path], object], name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        write(folder / name)
        return folder / name

    return make


def values_of(load: Callable[[str], Any], dump: Callable[[Any], str]) -> Damage:
    """Damage to the values of a document."""
    return lambda content, draw: dump(damaged_values(load(content.decode()), draw)).encode()


def as_bytes(tensors: Mapping[str, torch.Tensor]) -> Content:
    """Shapes and bytes by name."""
    return {
        name: (list(tensor.shape), tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
        for name, tensor in tensors.items()
    }


def safetensors_by_hand(path: Path) -> Content:
    """Names to bytes, as the format's own page describes it."""
    content = path.read_bytes()
    try:
        (size,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + size])
        body = content[8 + size :]
        header.pop("__metadata__", None)
        return {name: (entry["shape"], _piece(body, *entry["data_offsets"])) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as e:
        raise Unreadable(str(e)) from e


def _piece(body: bytes, start: int, end: int) -> bytes:
    if not 0 <= start <= end <= len(body):
        raise ValueError("beyond the end")
    return body[start:end]


def torch_by_hand(path: Path) -> Content:
    """The tensors of a file of torch.save whose entries all have the checksums that the archive says."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                raise Unreadable("checksum")
        found = torch.load(path, weights_only=True)
        return as_bytes({f"model.{name}": tensor for name, tensor in found["model"].items()})
    except Unreadable:
        raise
    except Exception as e:
        raise Unreadable(str(e)) from e


def npz_by_hand(path: Path) -> Any:
    """Splits, labels and pixels; numpy looks at the checksum of every entry."""
    try:
        with np.load(path, allow_pickle=False) as found:
            arrays = {name: found[name] for name in ("x_train", "y_train", "x_test", "y_test")}
    except Exception as e:
        raise Unreadable(str(e)) from e
    return [
        (split, int(label), pixels.reshape(*pixels.shape[:2], -1).tolist())
        for split in ("train", "test")
        for label, pixels in zip(arrays[f"y_{split}"], arrays[f"x_{split}"], strict=True)
    ]


def raw_values(data: Any) -> Any:
    return [(i.split, i.label, None if i.pixels is None else i.pixels.tolist()) for i in data.images]


def a_folder(suffix: str, **how: Any) -> Callable[[Path], Path]:
    """An image folder of two classes; the damaged image is the first."""

    def make(root: Path) -> Path:
        rng = np.random.default_rng(5)
        for split in ("train", "test"):
            for name in ("a", "b"):
                (root / split / name).mkdir(parents=True)
                pixels = rng.integers(0, 256, (12, 9, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"0.{suffix}", **how)
        return root

    return make


def first_image(root: Path) -> Any:
    """Its pixels, or that it is none."""
    image = load_raw("image_folder", root).images[0]
    if image.pixels is None:
        raise Refused(image.error or "")
    return image.pixels.tolist()


class Refused(ValueError):
    """An image that does not decode, which is said with the others."""


def png_by_hand(root: Path) -> Any:
    """Pixels of a PNG in 8 bits RGB without filters' help from Pillow: every checksum has to be right."""
    content = (root / "train/a/0.png").read_bytes()
    at, data, header = 8, b"", None
    try:
        while True:
            (size,) = struct.unpack(">I", content[at : at + 4])
            kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + size]
            (wanted,) = struct.unpack(">I", content[at + 8 + size : at + 12 + size])
            if zlib.crc32(kind + body) != wanted:
                raise Unreadable(f"checksum of {kind!r}")
            header = struct.unpack(">IIBBBBB", body) if kind == b"IHDR" else header
            data += body if kind == b"IDAT" else b""
            at += 12 + size
            if kind == b"IEND":
                break
        if header is None or header[2:] != (8, 2, 0, 0, 0):
            return Image.open(BytesIO(content)).convert("RGB")
        return _unfiltered(zlib.decompress(data), header[0], header[1]).tolist()
    except (struct.error, zlib.error, OSError, ValueError, IndexError) as e:
        raise Unreadable(str(e)) from e


def _unfiltered(data: bytes, width: int, height: int) -> np.ndarray:
    """The filters of PNG undone, byte by byte."""
    step, rows, above = 3 * width, [], bytes(3 * width)
    for y in range(height):
        kind, line = data[y * (step + 1)], bytearray(data[y * (step + 1) + 1 : (y + 1) * (step + 1)])
        for x in range(step):
            left, up, corner = line[x - 3] if x >= 3 else 0, above[x], above[x - 3] if x >= 3 else 0
            near = min((left, up, corner), key=lambda value: abs(left + up - corner - value))
            line[x] = (line[x] + (0, left, up, (left + up) // 2, near)[kind]) & 255
        rows.append(bytes(line))
        above = rows[-1]
    return np.frombuffer(b"".join(rows), np.uint8).reshape(height, width, 3)


def json_by_hand(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as e:
        raise Unreadable(str(e)) from e


def yaml_by_hand(path: Path) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(path.read_text("utf-8"))
    except Exception as e:
        raise Unreadable(str(e)) from e


def said_so(read: Any, said: Any) -> bool:
    """Whether what was read is what a document says, wherever it says something."""
    if isinstance(said, dict):
        return isinstance(read, dict) and all(str(k) in read and said_so(read[str(k)], v) for k, v in said.items())
    if isinstance(said, list):
        return isinstance(read, list) and len(read) == len(said) and all(map(said_so, read, said))
    if isinstance(read, bool) and isinstance(said, str):  # `on` is text to YAML 1.2, and means what it meant before
        return said.lower() in (("true", "on", "yes", "y", "t", "1") if read else ("false", "off", "no", "n", "f", "0"))
    if isinstance(said, bool) or isinstance(read, bool) or said is None or read is None:
        return read is said
    if isinstance(said, (int, float)) and isinstance(read, (int, float)):
        return read == said or (abs(said) < 1e300 and math.isclose(read, said, rel_tol=1e-12))
    if isinstance(read, (int, float)):
        return math.isclose(read, float(said), rel_tol=1e-12)  # 1e-3 without a point is text to YAML
    return str(read) == str(said)


def classes_as_text(content: Any) -> Any:
    """Names of classes are text, however they are written: compared as such."""
    return {k: v for k, v in content.items() if k != "problems"} if isinstance(content, dict) else content


def index_by_hand(path: Path) -> Content:
    """Of every name in the index what the file that it names has."""
    try:
        names = json.loads(path.read_bytes())["weight_map"]
        files = {file: torch.load(path.parent / file, weights_only=True) for file in set(names.values())}
        return as_bytes({name: files[file][name] for name, file in names.items()})
    except Exception as e:
        raise Unreadable(str(e)) from e


def a_params(folder: Path) -> Path:
    return write_params(folder / "params.yaml", data={"path": "a.npz"}, search={"alpha": 1.5})


def dump_yaml(content: Any) -> str:
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def source_values(path: Path) -> Any:
    source = load_source(path.parent)
    about = json_by_hand(path)
    info = {"classes": list(source.info.classes), "mean": list(source.info.mean), "std": list(source.info.std)}
    assert info == {key: about[key] for key in info}, "other values than in source.json"
    return as_bytes(dict(source.network.state_dict()))


def pack_values(path: Path) -> Any:
    pack = load_pack(path.parent)
    return {
        name: (as_bytes(piece.masks), None if piece.head is None else as_bytes(dict(piece.head.state_dict())))
        for name, piece in pack.pieces.items()
    }


def prepared_by_hand(path: Path) -> Any:
    """Images as uint8, labels as int64."""
    found = safetensors_by_hand(path)
    kinds = {"x_train": np.uint8, "y_train": np.int64, "x_test": np.uint8, "y_test": np.int64}
    try:
        return [np.frombuffer(found[n][1], kind).reshape(found[n][0]).tolist() for n, kind in kinds.items()]
    except (KeyError, ValueError, TypeError) as e:
        raise Unreadable(str(e)) from e


def pillow(path: Path) -> Any:
    """JPEG has no checksums: what Pillow reads."""
    try:
        return np.array(Image.open(path).convert("RGB")).tolist()
    except Exception as e:
        raise Unreadable(str(e)) from e


IN_JSON = (damaged_text, values_of(json.loads, json.dumps))
IN_YAML = (damaged_text, values_of(YAML(typ="safe", pure=True).load, dump_yaml))
TARGETS: Mapping[str, Target] = {
    "safetensors": Target(
        written(lambda p: save_file(WEIGHTS, p), "w.safetensors"),
        lambda path: as_bytes(read_state_dict(path)),
        safetensors_by_hand,
    ),
    "torch.save": Target(
        written(lambda p: torch.save({"model": WEIGHTS, "epoch": 3}, p), "w.pth"),
        lambda path: as_bytes(read_state_dict(path)),
        torch_by_hand,
    ),
    "an index": Target(
        an_index, lambda path: as_bytes(read_state_dict(path)), index_by_hand, damage=IN_JSON, files="*.json"
    ),
    "source.json": Target(a_source, source_values, damage=IN_JSON, files="source.json"),
    "source.safetensors": Target(a_source, source_values, files="*.safetensors"),
    "mask pack": Target(
        written(lambda p: save_mask_pack(MASKS, "s", p), "m"), lambda path: as_bytes(load_mask_pack(path).masks)
    ),
    "module pack": Target(a_pack, pack_values),
    "npz": Target(an_npz, lambda path: raw_values(load_raw("npz", path)), npz_by_hand),
    "prepared data": Target(
        written(lambda p: save_prepared(ImageData(PIXELS, LABELS, PIXELS, LABELS, ("a", "b")), p), "d.safetensors"),
        lambda path: [getattr(load_prepared(path), n).tolist() for n in ("x_train", "y_train", "x_test", "y_test")],
        prepared_by_hand,
    ),
    "png folder": Target(a_folder("png"), first_image, png_by_hand, files="train/a/0.png"),
    "jpeg folder": Target(
        a_folder("jpg", quality=95), first_image, lambda root: pillow(root / "train/a/0.jpg"), files="train/a/0.jpg"
    ),
    "JSON": Target(
        written(lambda p: p.write_text('{"a": [1, {"b": "c"}], "d": 1.5, "e": null}'), "x.json"),
        read_json,
        json_by_hand,
        damage=IN_JSON,
    ),
    "params.yaml": Target(
        a_params,
        lambda path: classes_as_text(load_params(path).model_dump(mode="json")),
        lambda path: classes_as_text(yaml_by_hand(path)),
        said_so,
        IN_YAML,
    ),
    "registry.yaml": Target(
        written(lambda p: p.write_text(POLICY), "registry.yaml"),
        lambda path: load_policy(path).model_dump(mode="json"),
        yaml_by_hand,
        said_so,
        IN_YAML,
    ),
}
