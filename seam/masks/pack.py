"""Mask packs: a mask as one bit a weight, compressed, in one file that is bound to its source."""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from seam.errors import MaskError, words
from seam.files import parse_json, write_bytes
from seam.masks.masks import Masks

_FORMAT = "seam-mask-2"
_DEFLATED = 1040
"""Bytes that one compressed byte becomes at most."""


@dataclass(frozen=True)
class MaskPack:
    """A mask read from a file."""

    masks: dict[str, Tensor]
    source_sha256: str
    """Hash of the source.safetensors it was found for."""
    mask_sha256: str
    """Over names, shapes and packed bits."""


def save_mask_pack(masks: Masks, source_sha256: str, path: Path) -> str:
    """Write one bit a weight, compressed and bound to its source; returns the mask's sha256."""
    packed = {name: np.packbits(mask.numpy().reshape(-1)) for name, mask in masks.items()}
    shapes = {name: list(mask.shape) for name, mask in masks.items()}
    digest = _mask_sha256(packed, shapes)
    about = {"format": _FORMAT, "source_sha256": source_sha256, "mask_sha256": digest, "shapes": shapes}
    compressed = {name: np.frombuffer(zlib.compress(bits.tobytes(), 9), np.uint8) for name, bits in packed.items()}
    one_key = {"seam": json.dumps(about)}  # safetensors does not keep the order of several
    write_bytes(path, save(compressed, metadata=one_key))
    return digest


def load_mask_pack(path: Path, source_sha256: str | None = None) -> MaskPack:
    """Read what `save_mask_pack` wrote.

    Args:
        path: the mask pack.
        source_sha256: when given, the pack must belong to this source.

    Raises:
        MaskError: missing, damaged, altered, or made for another source.
    """
    try:
        with safe_open(path, framework="numpy") as f:
            about = parse_json(f.metadata()["seam"], path)
            shapes = {str(name): checked_shape(shape) for name, shape in about["shapes"].items()}
            packed = {name: packed_bits(f.get_tensor(name), shape) for name, shape in shapes.items()}
        recorded, bound = str(about["mask_sha256"]), str(about["source_sha256"])
        found = _mask_sha256(packed, shapes)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError, zlib.error) as e:
        raise MaskError(f"{path}: expected a mask pack, got {words(e)}", hint="rerun_producer", path=path) from e
    if found != recorded:
        raise MaskError(
            f"{path}: expected mask sha256 {recorded}, got {found}: the file was altered",
            hint="rerun_producer",
            path=path,
        )
    if source_sha256 not in (None, bound):
        raise MaskError(
            f"{path}: made for the source with sha256 {bound}, got a source with {source_sha256}",
            hint="rerun_producer",
            path=path,
        )
    return MaskPack({name: unpacked(packed[name], shape) for name, shape in shapes.items()}, bound, found)


def checked_shape(shape: Any) -> list[int]:
    """The shape of a mask as a file says it.

    Raises:
        ValueError: it is no list of sizes.
    """
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"the shape {str(shape)[:80]}")
    return shape


def packed_bits(data: npt.NDArray[np.uint8], shape: list[int]) -> npt.NDArray[np.uint8]:
    """The packed bits of a mask, decompressed; no memory is asked for that its bytes cannot fill.

    Raises:
        ValueError: there are more or fewer than the shape says.
        zlib.error: damaged.
    """
    wanted = -(-math.prod(shape) // 8)
    if wanted > len(data) * _DEFLATED:
        raise ValueError(f"{len(data)} bytes for a mask of shape {shape}")
    bits = zlib.decompressobj().decompress(data.tobytes(), wanted + 1)
    if len(bits) != wanted:
        raise ValueError(f"bits of {len(bits)} bytes for a mask of shape {shape}")
    return np.frombuffer(bits, np.uint8)


def unpacked(bits: npt.NDArray[np.uint8], shape: list[int]) -> Tensor:
    """The mask of `packed_bits`."""
    return torch.from_numpy(np.unpackbits(bits, count=math.prod(shape)).astype(bool).reshape(shape))


def _mask_sha256(packed: Mapping[str, npt.NDArray[np.uint8]], shapes: Mapping[str, list[int]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(packed):
        digest.update(f"{name}:{shapes[name]}:".encode())
        digest.update(packed[name].tobytes())
    return digest.hexdigest()
