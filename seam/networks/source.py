"""The trained network that is re-engineered: its weights, its classes and the input space it was trained in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from seam.errors import SourceError
from seam.files import read_json, sha256_file, write_text
from seam.networks.build import build
from seam.networks.state_dicts import load_weights, save_weights


@dataclass(frozen=True)
class SourceInfo:
    """What is known of a source."""

    architecture: str
    classes: tuple[str, ...]
    """In the order of the logits."""
    mean: tuple[float, ...]
    """Normalisation, three values, pixels in [0, 1]."""
    std: tuple[float, ...]
    image_shape: tuple[int, int, int]
    """(height, width, channels) of the images as stored."""
    sha256: str
    """Of source.safetensors."""
    val_accuracy: float
    """Over all its classes, a fraction."""
    trained_here: bool
    """False for a given checkpoint: its training may have seen our validation images."""
    params_total: int
    files: Mapping[str, str] = field(default_factory=dict)
    """The user's own files it was made from (checkpoint, architecture) -> their sha256."""
    warnings: tuple[str, ...] = ()
    test_accuracy: float | None = None
    """Over all its classes, on the data set's test images, a fraction; measured for a given
    checkpoint only."""
    fetched_from: str | None = None
    """Where a checkpoint that is not a file came from: an address, or "models:/NAME/VERSION"."""


@dataclass(frozen=True)
class Source:
    """A trained network (eval mode, float32, on the CPU) and what is known of it."""

    network: nn.Module
    info: SourceInfo


class Preprocess(nn.Module):
    """Images as stored, to the network's input."""

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Take the normalisation of pixels in [0, 1], three values each."""
        super().__init__()
        deviation = torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1)
        self.register_buffer("scale", 1 / (255 * deviation))
        self.register_buffer("shift", -torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1) / deviation)

    def forward(self, images: UInt8[Tensor, "batch h w c"]) -> Float[Tensor, "batch 3 h w"]:
        """Normalised float32 NCHW; one grey channel is repeated to three."""
        return images.permute(0, 3, 1, 2).float() * self.scale + self.shift


def three_values(values: Sequence[float]) -> tuple[float, ...]:
    """A value a channel, of one value or three."""
    return tuple(values) * (3 // len(values))


@torch.no_grad()
def check_output(
    network: nn.Module, images: Float[Tensor, "batch 3 h w"], num_classes: int, architecture: str, size_parameter: str
) -> None:
    """Does the network, in eval mode, take such images and return a score a class?

    Raises:
        SourceError: it does not; the message names the architecture, and `size_parameter`, which
            sets the images' size.
    """
    try:
        scores = network(images)
    except (RuntimeError, ValueError) as e:
        shape, why = tuple(images.shape[2:]), str(e).splitlines()[0]
        raise SourceError(
            f"architecture '{architecture}' does not take images of {shape[0]} x {shape[1]} pixels: {why}; set"
            f" {size_parameter}."
        ) from e
    expected = (len(images), num_classes)
    got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
    if got != expected:
        raise SourceError(
            f"architecture '{architecture}': expected class scores of shape {expected}, got {got}; give a network that"
            " returns them."
        )


def save_source(network: nn.Module, info: SourceInfo, folder: Path) -> None:
    """Write source.safetensors and source.json (with the hash of the former) into `folder`."""
    weights = folder / "source.safetensors"
    save_weights(network, weights)
    content = {**asdict(info), "sha256": sha256_file(weights)}
    write_text(folder / "source.json", json.dumps(content, indent=2) + "\n")


def load_source(folder: Path) -> Source:
    """Read what `save_source` wrote.

    Raises:
        SourceError: missing, damaged, or weights whose hash is not the recorded one.
    """
    try:
        raw = read_json(folder / "source.json")
    except (OSError, ValueError) as e:
        raise SourceError(
            f"{folder / 'source.json'}: expected a prepared source, got {e}; run the stage prepare_source."
        ) from e
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
    info = SourceInfo(**fields)
    found = sha256_file(folder / "source.safetensors")
    if found != info.sha256:
        raise SourceError(
            f"{folder / 'source.safetensors'}: expected sha256 {info.sha256}, got {found}; run the stage prepare_source"
            " again."
        )
    network = build(info.architecture, len(info.classes))
    load_weights(network, folder / "source.safetensors")
    return Source(network.eval(), info)
