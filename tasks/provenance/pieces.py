"""What a problem's network is put together from again: its mask pack, and the weights that it keeps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from seam.errors import ProvenanceError, SeamError
from seam.files import write_bytes
from seam.masks.pack import MaskPack, load_mask_pack
from seam.networks.build import build
from seam.networks.head import Reengineered, TargetHead
from seam.networks.source import Source
from tasks.provenance.folder import MOST_BYTES, read_limited

MASK, WEIGHTS, TIMES = "mask.safetensors", "weights.safetensors", "times.json"
_NETWORK, _HEAD = "network.", "head.linear.weight"


@dataclass(frozen=True)
class Pieces:
    """Read from a version."""

    pack: MaskPack
    weights: dict[str, Tensor]
    """By name in the network with its head: of a masked tensor what is kept, in a row; others whole."""


def save_pieces(network: nn.Module, mask: Path, folder: Path, times: Path | None = None) -> None:
    """Write into a folder what a re-engineered network is put together from, and made from, beside its data.

    Args:
        network: with its head.
        mask: the mask pack.
        folder: it is there.
        times: what was measured and shaped the search; None: no times did.
    """
    masks = load_mask_pack(mask).masks
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in sorted(network.state_dict().items())}
    for name, kept in masks.items():
        tensors[_NETWORK + name] = tensors[_NETWORK + name][kept]
    write_bytes(folder / MASK, mask.read_bytes())
    write_bytes(folder / WEIGHTS, save(tensors))
    if times is not None:
        write_bytes(folder / TIMES, times.read_bytes())


def load_pieces(folder: Path) -> Pieces:
    """Read what `save_pieces` wrote.

    Raises:
        ProvenanceError: it is not there, or damaged.
    """
    try:
        weights = load(read_limited(folder / WEIGHTS, MOST_BYTES))
    except (SafetensorError, ValueError) as e:
        raise ProvenanceError(f"{WEIGHTS}: expected the weights that are kept, got {e}.") from e
    try:
        return Pieces(load_mask_pack(folder / MASK), weights)
    except SeamError as e:
        raise ProvenanceError(f"{MASK}: {e.what}.") from e


def put_together(pieces: Pieces, source: Source) -> Reengineered:
    """The source's architecture with the kept weights where the mask has them, zeros elsewhere, and the head.

    Raises:
        ProvenanceError: mask or weights are not of this architecture.
    """
    weights, info = dict(pieces.weights), source.info
    head = weights.get(_HEAD)
    if head is None or head.ndim != 2:
        raise ProvenanceError(f"{WEIGHTS}: expected {_HEAD}, a matrix, got none.")
    with torch.random.fork_rng(devices=[]):  # fresh weights are drawn, and replaced
        model = Reengineered(build(info.architecture, info.num_classes), TargetHead(info.num_classes, len(head)))
    own = model.state_dict()
    for name, kept in pieces.pack.masks.items():
        full = own.get(_NETWORK + name)
        row = weights.get(_NETWORK + name)
        if full is None or full.shape != kept.shape or row is None or row.shape != (int(kept.sum()),):
            raise ProvenanceError(f"{MASK}: {name} is not a masked tensor of {info.architecture} with weights for it.")
        weights[_NETWORK + name] = torch.zeros_like(full).masked_scatter(kept, row.to(full.dtype))
    if {n: t.shape for n, t in weights.items()} != {n: t.shape for n, t in own.items()}:
        odd = sorted(weights.keys() ^ own.keys()) or ["a shape"]
        raise ProvenanceError(f"{WEIGHTS}: expected the tensors of {info.architecture}, differing in {odd[0]}.")
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)


def moved(pieces: Pieces, source: Source) -> tuple[int, int, float]:
    """Kept weights that are not the source's, of how many, and by how much at most."""
    own = source.network.state_dict()
    others = total = 0
    most = 0.0
    for name, kept in pieces.pack.masks.items():
        difference = (pieces.weights[_NETWORK + name] - own[name][kept]).abs()
        others, total = others + int((difference != 0).sum()), total + difference.numel()
        most = max(most, float(difference.max()) if difference.numel() else 0.0)
    return others, total, most
