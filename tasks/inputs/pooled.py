"""The images that modules of several networks are chosen and measured on: of every data set that these are of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seam.data.images import LabelledImages, images_of
from seam.data.lazy import LazyImages, Rows, joined
from seam.data.prepared import load_prepared
from seam.door.parts import same_images
from seam.files import sha256_file
from tasks.inputs.images import project_images
from tasks.inputs.parts import Part
from tasks.inputs.splits import unseen_split
from tasks.project.stage import StageContext


@dataclass(frozen=True)
class Pooled:
    """Images of one or several data sets; what has the same name in several is one class."""

    classes: tuple[str, ...]
    val: LabelledImages
    """That no network was trained on, labelled in the order of `classes`."""
    test: LabelledImages
    val_from: str
    """Where val comes from: train, test or given; several with commas between them."""


def pooled(context: StageContext, made_of: Sequence[Part]) -> Pooled:
    """Those of all parts; a data set that several are of once.

    Raises:
        DataError: networks take images of different sizes or normalisation; a damaged data set; there
            are no images for val.
    """
    for part in made_of:
        same_images(made_of[0].modules.takes, part.modules.takes, f"modules of {part.name}")
    paths = [(part.images or project_images(context)).dataset for part in made_of]
    digests = {path: sha256_file(path) for path in set(paths)}
    of: dict[str, list[Part]] = {}
    dataset: dict[str, Path] = {}
    for part, path in zip(made_of, paths, strict=True):
        dataset[digests[path]] = path
        of.setdefault(digests[path], []).append(part)
    classes, vals, tests, val_from = list[str](), list[LabelledImages](), list[LabelledImages](), list[str]()
    for digest, those in of.items():
        data = load_prepared(dataset[digest])
        split = unseen_split(context.params, data, seen=any(part.may_have_seen for part in those))
        classes += [name for name in data.classes if name not in classes]
        order = torch.tensor([classes.index(name) for name in data.classes])
        for images, found in (
            (images_of(data, split.val_split, split.val), vals),
            (images_of(data, "test", split.test), tests),
        ):
            found.append(LabelledImages(images.images, order[images.labels]))
        val_from += [split.val_from] * (split.val_from not in val_from)
    return Pooled(tuple(classes), _together(vals), _together(tests), ", ".join(val_from))


def _together(parts: Sequence[LabelledImages]) -> LabelledImages:
    images, labels = [part.images for part in parts], torch.cat([part.labels for part in parts])
    if len({isinstance(some, Tensor) for some in images}) > 1:
        images = [
            LazyImages(_Held(some), np.arange(len(some))) if isinstance(some, Tensor) else some for some in images
        ]
    return LabelledImages(joined(images), labels)


class _Held:
    """Images in memory, beside others that are read when they are asked for."""

    def __init__(self, images: Tensor) -> None:
        self._images = images
        self.shape = tuple(images.shape)

    def batches(self, chosen: Iterable[Rows], draw: int) -> Iterator[Tensor]:
        return (self._images[torch.from_numpy(rows)] for rows in chosen)

    def identity(self, rows: Rows) -> Iterator[Tensor]:
        yield self._images[torch.from_numpy(rows)]
