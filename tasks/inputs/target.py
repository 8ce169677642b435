"""The source, the images and the attacked images of a transfer, as its stages read them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file
from torch import Tensor, nn

from seam.data.images import LabelledImages
from seam.data.prepared import ImageData, load_prepared
from seam.data.splits import carve_val, identical_groups
from seam.errors import DataError, SourceError
from seam.files import read_json, sha256_file
from seam.networks.build import build
from seam.networks.source import Preprocess
from seam.networks.state_dicts import load_weights
from tasks.project.stage import StageContext

AT_ONCE = 4
"""Batches of the attack in one piece: what is held in memory, and what a kill costs at most."""
_IMAGES = "images_normalized"


@dataclass(frozen=True)
class TransferSource:
    """The trained network (eval mode, float32, on the CPU), and what is known of it."""

    network: nn.Module
    architecture: str
    mean: tuple[float, ...]
    """Normalisation, three values, pixels in [0, 1]."""
    std: tuple[float, ...]
    sha256: str
    """Of source.safetensors."""

    def preprocess(self) -> Preprocess:
        """Images as stored, to the network's input."""
        return Preprocess(self.mean, self.std)


def transfer_source(context: StageContext) -> TransferSource:
    """What fetch_source published.

    Raises:
        SourceError: missing, damaged, or weights whose hash is not the recorded one.
    """
    path, weights = (
        context.artifact("fetch_source", "source.json"),
        context.artifact("fetch_source", "source.safetensors"),
    )
    try:
        about, found = read_json(path), sha256_file(weights)
    except (OSError, ValueError) as e:
        raise SourceError(f"{path}: expected the source of the transfers, got {e}; run the stage fetch_source.") from e
    if found != about["sha256"]:
        raise SourceError(
            f"{weights}: expected sha256 {about['sha256']}, got {found}; run the stage fetch_source again."
        )
    network = build(about["architecture"], about["num_classes"])
    load_weights(network, weights)
    return TransferSource(
        network.eval().requires_grad_(False), about["architecture"], tuple(about["mean"]), tuple(about["std"]), found
    )


def target_data(context: StageContext) -> ImageData:
    """The target's images, all of them.

    Raises:
        DataError: missing or damaged.
    """
    try:
        return load_prepared(context.artifact("validate_target", "dataset.safetensors"))
    except DataError as e:
        raise DataError(str(e).replace("validate_data", "validate_target")) from e


def make_splits(context: StageContext, data: ImageData) -> dict[str, npt.NDArray[np.int64]]:
    """Indices of the training images: `train`, and `val`, carved out of them as for a target problem.

    A function of the seed alone.

    Raises:
        DataError: nothing is left for val.
    """
    params = context.params
    is_val = carve_val(data.y_train, params.split_dataset.val_fraction, params.seed, identical_groups(data.x_train))
    if not is_val.any():
        raise DataError(
            f"target '{context.name}': expected images for validation, got none; every class has a single image, or"
            " copies of it; add images."
        )
    return {"train": np.flatnonzero(~is_val), "val": np.flatnonzero(is_val)}


def take(data: ImageData, rows: npt.NDArray[np.int64]) -> LabelledImages:
    """Some of the training images, on the CPU."""
    return LabelledImages(torch.from_numpy(data.x_train[rows]), torch.from_numpy(data.y_train[rows]))


def split_images(context: StageContext, data: ImageData) -> tuple[LabelledImages, LabelledImages]:
    """Train and val of a target, on the CPU.

    Raises:
        DataError: the split is missing or damaged, or is not the one that the attack was made with.
    """
    splits = load_file(_checked(context, "splits.safetensors"))
    return take(data, splits["train"]), take(data, splits["val"])


class Adversarial:
    """The attacked test images of a target, read a piece at a time."""

    def __init__(self, context: StageContext, source: TransferSource) -> None:
        """Check that they are whole, and made from this source.

        Raises:
            DataError: missing, altered, or made from another source.
        """
        self._path = _checked(context, "adversarial.safetensors")
        about = read_json(context.artifact("attack_target", "attack.json"))
        if about["source_sha256"] != source.sha256:
            raise DataError(
                f"{self._path}: made from the source with sha256 {about['source_sha256']}, got {source.sha256}; run the"
                " stage attack_target again."
            )
        self.piece = AT_ONCE * int(about["batch_size"])
        """Images of a piece, but for the last one."""

    def __iter__(self) -> Iterator[Float[Tensor, "piece 3 height width"]]:
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
