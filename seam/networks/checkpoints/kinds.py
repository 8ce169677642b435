"""What a file is, judged by its content alone: one row a kind. A name's suffix says nothing."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from seam.errors import SourceError

Readable = Literal["safetensors", "index", "torch", "pt2"]
"""Forms of weights that can be read; `torch` is what torch.save writes."""

_HEAD = 4096
"""Bytes that are looked at."""
_LARGEST_HEADER = 100_000_000
"""Of a safetensors file, in bytes: its format's own limit."""


@dataclass(frozen=True)
class _Look:
    """What is known of a file without reading it whole."""

    head: bytes
    entries: frozenset[str]
    """Names in a zip archive, without its top folder; none for other files."""

    @property
    def text(self) -> str:
        """Its beginning, lower case, without leading blanks; "" if that is not text."""
        try:
            return self.head.decode("utf-8-sig").lstrip().lower()
        except UnicodeDecodeError as e:
            cut_short = e.start > len(self.head) - 4 and len(self.head) == _HEAD
            return self.head[: e.start].decode("utf-8-sig").lstrip().lower() if cut_short else ""


@dataclass(frozen=True)
class _Kind:
    """A kind of file."""

    matches: Callable[[_Look], bool]
    reads_as: Readable | None = None
    refused: str = ""
    """What it is and what to do, for a kind that is not read."""


def _starts(*beginnings: bytes) -> Callable[[_Look], bool]:
    return lambda look: look.head.startswith(beginnings)


def _text(*beginnings: str) -> Callable[[_Look], bool]:
    return lambda look: look.text.startswith(beginnings)


def _holds(*names: str) -> Callable[[_Look], bool]:
    return lambda look: any(entry.startswith(names) for entry in look.entries)


def _is_safetensors(look: _Look) -> bool:
    return look.head[8:9] == b"{" and 2 <= int.from_bytes(look.head[:8], "little") <= _LARGEST_HEADER


def _is_onnx(look: _Look) -> bool:
    """A protobuf that begins with the version of the format, at least 3, and goes on with a field that comes next."""
    head = look.head
    return len(head) > 2 and head[0] == 0x08 and 3 <= head[1] < 32 and head[2] in b"\x12\x1a\x22\x2a\x32\x3a\x42"


_WANTED = "give the weights that PyTorch saved (`torch.save(model.state_dict(), ...)`)"
_KINDS = (
    _Kind(lambda look: not look.head, refused="an empty file; download or copy it again"),
    _Kind(
        _text("<!doctype html", "<html", "<head", "<?xml", "<error"),
        refused="a web page (HTML), not a checkpoint: the download failed; download the file that the page leads to",
    ),
    _Kind(
        _text("version https://git-lfs", "version https://hawser"),
        refused="a Git LFS pointer, not the file it stands for; get that with `git lfs pull`",
    ),
    _Kind(_text("outs:"), refused="a DVC pointer, not the file it stands for; get that with `dvc pull`"),
    _Kind(lambda look: look.text.startswith("{") and "weight_map" in look.text, reads_as="index"),
    _Kind(_is_safetensors, reads_as="safetensors"),
    _Kind(_holds("constants.pkl", "code/"), refused=f"a TorchScript archive, a program with its weights; {_WANTED}"),
    _Kind(_holds("archive_format", "serialized_state_dict.", "models/"), reads_as="pt2"),
    _Kind(_holds("data.pkl"), reads_as="torch"),
    _Kind(_holds("model.weights.h5", "metadata.json"), refused=f"a Keras model; {_WANTED}"),
    _Kind(lambda look: any(e.endswith(".npy") for e in look.entries), refused=f"an archive of NumPy; {_WANTED}"),
    _Kind(lambda look: bool(look.entries), refused="a zip archive of other files; unpack it and give the one wanted"),
    _Kind(
        _starts(b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!", b"\x28\xb5\x2f\xfd"),
        refused="a compressed file; unpack it first",
    ),
    _Kind(_starts(b"\x89HDF"), refused=f"an HDF5 file, as Keras writes; {_WANTED}"),
    _Kind(_starts(b"GGUF"), refused=f"a GGUF file of quantised weights; {_WANTED}"),
    _Kind(_starts(b"\x93NUMPY"), refused=f"an array of NumPy; {_WANTED}"),
    _Kind(lambda look: look.head[4:8] == b"TFL3", refused=f"a TensorFlow Lite file; {_WANTED}"),
    _Kind(_starts(b"\x08\x01\x12"), refused=f"a SavedModel of TensorFlow; {_WANTED}"),
    _Kind(_is_onnx, refused=f"an ONNX file, a graph with its weights; {_WANTED}"),
    _Kind(
        lambda look: bool(look.text) and all(c.isprintable() or c.isspace() for c in look.text),
        refused=f"a text file, not a checkpoint; {_WANTED}",
    ),
)
"""The first that matches is it; what none matches is left to torch to judge."""


def kind_of(path: Path, where: str) -> Readable:
    """How a file is to be read.

    Args:
        path: a file.
        where: names it in errors.

    Raises:
        SourceError: it is a kind of file that holds no weights that can be read; the line says
            which.
    """
    look = _look_at(path)
    for kind in _KINDS:
        if kind.matches(look):
            if kind.reads_as is None:
                raise SourceError(f"{where}: expected a checkpoint, got {kind.refused}.")
            return kind.reads_as
    return "torch"


def _look_at(path: Path) -> _Look:
    with path.open("rb") as f:
        head = f.read(_HEAD)
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        names = []
    top = {name.partition("/")[0] for name in names}
    shared = len(top) == 1 and all("/" in name for name in names)
    return _Look(head, frozenset(name.partition("/")[2] if shared else name for name in names))
