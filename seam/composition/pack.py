"""Packs of modules: masks as one bit a kernel or weight, and heads, in a folder that is bound to its source.

`modules.json` says what there is; it names a safetensors file, by its content, with the bits and the
heads. The JSON is written last and whole, so that a pack is the old one or the new one.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import nn

from seam.composition.heads import kind_of, make_head
from seam.composition.module import Piece
from seam.errors import MaskError, words
from seam.files import beside, read_json, sha256_file, write_bytes, write_json
from seam.masks.pack import checked_shape, packed_bits, unpacked

FORMAT = "seam-modules-1"
CARD = "modules.json"


@dataclass(frozen=True)
class Pack:
    """The modules of one source."""

    pieces: Mapping[str, Piece]
    """By class, in the order of the source's outputs."""
    source_sha256: str
    """`fingerprint` of the state of the source."""
    outputs: int
    """Of the source."""
    about: Mapping[str, Any]
    """JSON: whatever the maker says of them."""


def save_pack(pack: Pack, folder: Path) -> str:
    """Write a pack, atomically; returns the sha256 of its tensors."""
    tensors: dict[str, Any] = {}
    described = []
    for number, (name, piece) in enumerate(pack.pieces.items()):
        shapes = {key: list(mask.shape) for key, mask in piece.masks.items()}
        for key, mask in piece.masks.items():
            bits = np.packbits(mask.cpu().numpy().reshape(-1))
            tensors[f"{number}.mask.{key}"] = np.frombuffer(zlib.compress(bits.tobytes(), 9), np.uint8)
        for key, value in piece.head.state_dict().items():
            tensors[f"{number}.head.{key}"] = value.cpu().numpy()
        head = {"kind": kind_of(piece.head), "output": getattr(piece.head, "index", number)}
        described.append({"class": name, "head": head, "shapes": shapes})
    content = save(tensors, metadata={"format": FORMAT})
    digest = hashlib.sha256(content).hexdigest()
    file = f"modules-{digest[:16]}.safetensors"
    write_bytes(folder / file, content)
    card = {"format": FORMAT, "source_sha256": pack.source_sha256, "outputs": pack.outputs, "file": file}
    write_json(folder / CARD, {**card, "sha256": digest, "modules": described, "about": dict(pack.about)})
    for old in folder.glob("modules-*.safetensors"):
        if old.name != file:
            old.unlink()
    return digest


def load_pack(folder: Path, source_sha256: str | None = None) -> Pack:
    """Read what `save_pack` wrote.

    Args:
        folder: of the pack.
        source_sha256: when given, the pack must belong to this source.

    Raises:
        MaskError: missing, damaged, altered, or made for another source.
    """
    path = folder / CARD
    try:
        card = read_json(path)
        if card["format"] != FORMAT:
            raise ValueError(f"format {card['format']}")
        bound, outputs, file, about = (card[name] for name in ("source_sha256", "outputs", "file", "about"))
        if not (isinstance(bound, str) and type(outputs) is int and isinstance(file, str) and isinstance(about, dict)):
            raise ValueError("fields of other types")
        if Path(file).name != file or not file.endswith(".safetensors"):
            raise ValueError(f"a file outside the folder, {file}")
        found = sha256_file(beside(path, file))
        if found != card["sha256"]:
            raise ValueError(f"{file} with sha256 {found[:16]}, expected {str(card['sha256'])[:16]}: it was altered")
        with safe_open(folder / file, framework="numpy") as f:
            pieces = {str(m["class"]): _piece(f, i, m, outputs) for i, m in enumerate(card["modules"])}
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError, zlib.error, RuntimeError) as e:
        raise MaskError(f"{path}: expected a pack of modules, got {words(e)}", hint="rerun_producer", path=path) from e
    if source_sha256 not in (None, bound):
        raise MaskError(
            f"{path}: made for the source with sha256 {bound[:16]}, got a source with {str(source_sha256)[:16]}; give"
            " the network that was taken apart, with the same weights.",
        )
    return Pack(pieces, bound, outputs, about)


def _piece(f: Any, number: int, described: Mapping[str, Any], outputs: int) -> Piece:
    masks = {}
    for name, said in described["shapes"].items():
        shape = checked_shape(said)
        masks[name] = unpacked(packed_bits(f.get_tensor(f"{number}.mask.{name}"), shape), shape)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):  # no memory before the file is seen to fill it
        head = make_head(described["head"]["kind"], outputs, int(described["head"]["output"]))
    state = {name: torch.from_numpy(f.get_tensor(f"{number}.head.{name}")) for name in head.state_dict()}
    head.load_state_dict(state, assign=True)
    return Piece(masks, _frozen(head))


def _frozen(head: nn.Module) -> nn.Module:
    return head.eval().requires_grad_(False)
