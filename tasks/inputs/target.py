"""The source, the images and the attacked images of a transfer, as its stages read them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from seam.data.images import LabelledImages, images_of
from seam.data.prepared import ImageData, load_prepared
from seam.data.splits import DataSplit, split_data, val_split
from seam.errors import DataError
from seam.files import read_json, sha256_file
from seam.networks.source import Source, load_source
from tasks.inputs.splits import read_split
from tasks.project.stage import StageContext

AT_ONCE = 4
"""Batches of the attack in one piece: what is held in memory, and what a kill costs at most."""
_IMAGES = "images_normalized"


def transfer_source(context: StageContext) -> Source:
    """What fetch_source published, gradients off.

    Raises:
        SourceError: missing, damaged, or weights whose hash is not the recorded one.
    """
    source = load_source(context.folder("fetch_source"))
    source.network.requires_grad_(False)
    return source


def target_data(context: StageContext) -> ImageData:
    """The target's images, all of them.

    Raises:
        DataError: missing or damaged.
    """
    return load_prepared(context.artifact("validate_target", "dataset.safetensors"))


def target_split(context: StageContext, data: ImageData) -> DataSplit:
    """Train, val and test of a target: its own val images, or some of the training images, which no source has seen.

    Raises:
        DataError: nothing is left for val.
    """
    config = context.params.split_dataset
    own = data.has_val and config.val_from in ("auto", "given")
    split = split_data(data, replace(config, val_from="given" if own else "train"), context.params.seed, seen=False)
    if not len(split.val):
        raise DataError(
            f"target '{context.name}': expected images for validation, got none; every class has a single image, or"
            " copies of it; add images."
        )
    return split


def split_images(context: StageContext, data: ImageData) -> tuple[LabelledImages, LabelledImages]:
    """Train and val of a target, on the CPU.

    Raises:
        DataError: the split is missing or damaged, or is not the one that the attack was made with.
    """
    rows, val_from = read_split(_checked(context, "splits.safetensors"))
    return images_of(data, "train", rows["train"]), images_of(data, val_split(val_from), rows["val"])


class Adversarial:
    """The attacked test images of a target, read a piece at a time."""

    def __init__(self, context: StageContext, source: Source) -> None:
        """Check that they are whole, and made from this source.

        Raises:
            DataError: missing, altered, or made from another source.
        """
        self._path = _checked(context, "adversarial.safetensors")
        about = read_json(context.artifact("attack_target", "attack.json"))
        if about["source_sha256"] != source.info.sha256:
            raise DataError(
                f"{self._path}: made from the source with sha256 {about['source_sha256']}, got {source.info.sha256};"
                " run the stage attack_target again."
            )
        self.piece = AT_ONCE * int(about["batch_size"])
        """Images of a piece, but for the last one."""

    def __iter__(self) -> Iterator[Float[Tensor, "piece channels height width"]]:
        """Normalised images, on the CPU, in the order of the test split."""
        with safe_open(self._path, framework="pt") as f:
            images = f.get_slice(_IMAGES)
            count = images.get_shape()[0]
            for first in range(0, count, self.piece):
                yield images[first : min(first + self.piece, count)]


def _checked(context: StageContext, name: str) -> Path:
    """A file of attack_target whose hash is the recorded one."""
    path = context.artifact("attack_target", name)
    try:
        recorded = read_json(context.artifact("attack_target", "attack.json"))["sha256"][name]
        found = sha256_file(path)
        with safe_open(path, framework="numpy"):
            pass
    except (OSError, ValueError, KeyError, SafetensorError) as e:
        raise DataError(f"{path}: expected what attack_target publishes, got {e}; run the stage attack_target.") from e
    if found != recorded:
        raise DataError(
            f"{path}: expected sha256 {recorded}, got {found}: the file was altered; run the stage attack_target again."
        )
    return path
