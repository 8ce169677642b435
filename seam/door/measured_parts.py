"""What modules keep of their network, and how good they are together, on given images."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from seam.composition.composed import Composed
from seam.composition.module import Module, Piece
from seam.data.images import LabelledImages
from seam.door.parts import Modules, PartSize
from seam.measures.macs import Counts, count
from seam.measures.modules import f1_by_class, jaccard, retention
from seam.networks.predict import predict


@dataclass(frozen=True)
class MeasuredParts:
    """The modules of one network, measured."""

    composed: Composed
    """All of them put together; eval mode, on the CPU."""
    sizes: dict[str, PartSize]
    """By class."""
    jaccard: Float[Tensor, "modules modules"]
    """Of each pair, what both keep as a fraction of what one of them keeps."""
    source_logits: Float[Tensor, "images classes"]
    composed_logits: Float[Tensor, "images classes"]

    @property
    def in_common(self) -> float:
        """Mean of `jaccard` over pairs."""
        number = len(self.jaccard)
        return float((self.jaccard.sum() - self.jaccard.trace()) / (number * (number - 1)))


def measure_parts(made: Modules, images: LabelledImages) -> MeasuredParts:
    """Sizes of two or more modules, and what they and their source say of images.

    Args:
        made: all modules of one network.
        images: as they lie in a data set; labels are the network's outputs.
    """
    parts: dict[str, Module] = dict(made)
    example, before = made.example, count(made.source, made.example)
    composed = Composed([part.network for part in parts.values()], example).eval()
    logits = predict(composed, images, made.preprocess)
    by_class = f1_by_class(logits, images.labels, made.classes)
    sizes = {
        name: _size(made.pieces[name], count(part.network, example), before, by_class[name].f1)
        for name, part in parts.items()
    }
    pairs = jaccard([piece.masks for piece in made.pieces.values()])
    return MeasuredParts(composed, sizes, pairs, predict(made.source, images, made.preprocess), logits)


def _size(piece: Piece, now: Counts, before: Counts, f1: float) -> PartSize:
    kept = retention(piece.masks, now, before)
    return PartSize(kernels=kept.kernels, params=kept.params, macs=kept.macs, f1=f1)
