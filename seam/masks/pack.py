"""Mask packs: a mask as one bit a weight, compressed, in one file that is bound to its source."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from seam.errors import MaskError
from seam.files import write_bytes
from seam.masks.masks import Masks

_FORMAT = "seam-mask-2"


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
            about = json.loads(f.metadata()["seam"])
            shapes = about["shapes"]
            packed = {name: _decompressed(f.get_tensor(name), shapes[name]) for name in shapes}
            masks = {name: _unpack(bits, shapes[name]) for name, bits in packed.items()}
            found, bound = _mask_sha256(packed, shapes), about["source_sha256"]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, zlib.error) as e:
        raise MaskError(f"{path}: expected a mask pack, got {e}", hint="rerun_producer", path=path) from e
    if found != about["mask_sha256"]:
        raise MaskError(
            f"{path}: expected mask sha256 {about['mask_sha256']}, got {found}: the file was altered",
            hint="rerun_producer",
            path=path,
        )
    if source_sha256 not in (None, bound):
        raise MaskError(
            f"{path}: made for the source with sha256 {bound}, got a source with {source_sha256}",
            hint="rerun_producer",
            path=path,
        )
    return MaskPack(masks, bound, found)


def _decompressed(data: npt.NDArray[np.uint8], shape: list[int]) -> npt.NDArray[np.uint8]:
    """The packed bits of a mask; never more than its shape allows, whatever the file says."""
    most = -(-int(np.prod(shape)) // 8)
    return np.frombuffer(zlib.decompressobj().decompress(data.tobytes(), most), np.uint8)


def _unpack(bits: npt.NDArray[np.uint8], shape: list[int]) -> Tensor:
    return torch.from_numpy(np.unpackbits(bits, count=int(np.prod(shape))).astype(bool).reshape(shape))


def _mask_sha256(packed: Mapping[str, npt.NDArray[np.uint8]], shapes: Mapping[str, list[int]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(packed):
        digest.update(f"{name}:{shapes[name]}:".encode())
        digest.update(packed[name].tobytes())
    return digest.hexdigest()
