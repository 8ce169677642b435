"""Which of many images are looked at."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from seam.data.lazy import Images


def drawn(
    images: Images, labels: Int[Tensor, " images"], most: int, seed: int, *, balanced: bool = False
) -> Int[Tensor, " chosen"]:
    """Rows of a sample in ascending order, without copies: one in another fold would give its label away.

    Args:
        images: all of them; only those in memory are compared.
        labels: of them.
        most: rows at most.
        seed: of the draw.
        balanced: whether every class is to have the same number; otherwise each keeps its share, and one
            image at least.
    """
    rng = np.random.default_rng(seed)
    rows = _distinct(images) if isinstance(images, Tensor) else np.arange(len(labels))
    kinds, counts = np.unique(labels.numpy()[rows], return_counts=True)
    alike = np.full(len(kinds), min(most // len(kinds), counts.min()))
    wanted = alike if balanced else np.floor(most * counts / counts.sum())
    share = np.minimum(counts, np.maximum(1, wanted.astype(np.int64)))
    chosen = [
        rng.permutation(rows[labels.numpy()[rows] == kind])[:number] for kind, number in zip(kinds, share, strict=True)
    ]
    return torch.from_numpy(np.sort(np.concatenate(chosen)))


def _distinct(images: Tensor) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The first row of each image."""
    flat = images.flatten(1).contiguous().numpy().view(np.uint8)
    seen = {row.tobytes(): index for index, row in reversed(list(enumerate(flat)))}
    return np.array(sorted(seen.values()), dtype=np.int64)
