"""The trained network that is re-engineered: its weights, its classes and the input space it was trained in."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

import safetensors
import torch
from jaxtyping import Float, UInt8
from safetensors.torch import load_file, save
from torch import Tensor, nn

from seam.errors import SourceError
from seam.files import read_json, sha256_file, write_bytes, write_text
from seam.models import build

logger = logging.getLogger(__name__)


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
    """Over all its classes, on the data set's test images, a fraction; measured for a given checkpoint only."""
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
def check_output(network: nn.Module, images: Float[Tensor, "batch 3 h w"], num_classes: int, architecture: str, size_parameter: str) -> None:
    """Does the network, in eval mode, take such images and return a score a class?

    Raises:
        SourceError: it does not; the message names the architecture, and `size_parameter`, which sets the images' size.
    """
    try:
        scores = network(images)
    except (RuntimeError, ValueError) as e:
        shape, why = tuple(images.shape[2:]), str(e).splitlines()[0]
        raise SourceError(f"architecture '{architecture}' does not take images of {shape[0]} x {shape[1]} pixels: {why}; set {size_parameter}.") from e
    expected = (len(images), num_classes)
    got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
    if got != expected:
        raise SourceError(f"architecture '{architecture}': expected class scores of shape {expected}, got {got}; give a network that returns them.")


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
        raise SourceError(f"{folder / 'source.json'}: expected a prepared source, got {e}; run the stage prepare_source.") from e
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
    info = SourceInfo(**fields)
    found = sha256_file(folder / "source.safetensors")
    if found != info.sha256:
        raise SourceError(f"{folder / 'source.safetensors'}: expected sha256 {info.sha256}, got {found}; run the stage prepare_source again.")
    network = build(info.architecture, len(info.classes))
    load_weights(network, folder / "source.safetensors")
    return Source(network.eval(), info)


def save_weights(network: nn.Module, path: Path) -> None:
    """Write a state dict as safetensors, atomically; the bytes depend on the weights alone."""
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in sorted(network.state_dict().items())}
    write_bytes(path, save(tensors))


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a checkpoint into `network`, in place.

    Raises:
        SourceError: missing, truncated, would execute code, or keys and shapes that differ.
    """
    load_tensors(network, read_state_dict(path), str(path))


def load_tensors(network: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Load a state dict into `network`, in place; one module that has another name in it is renamed.

    Args:
        network: of the architecture that the tensors are for.
        tensors: names -> tensors, from `read_state_dict`.
        where: names the state dict in errors.

    Raises:
        SourceError: keys or shapes that differ, or weights that are not finite.
    """
    tensors = _renamed(network.state_dict(), tensors, where)
    _check_fits(network, tensors, where)
    network.load_state_dict({**_counters(network), **tensors})


def read_state_dict(path: Path, where: str = "") -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of a torch checkpoint; wrappers (`state_dict`, `module.`) are removed.

    Nothing is unpickled but tensors and plain containers.

    Args:
        path: the file.
        where: names it in errors; its path unless given.

    Raises:
        SourceError: missing, truncated, or not a state dict.
    """
    where = where or str(path)
    if not path.is_file():
        raise SourceError(f"{where}: no such checkpoint file; give an existing .safetensors, .pt or .pth file.")
    try:
        content = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as e:
        raise SourceError(f"{where}: refused, it is not a plain state dict (loading it would execute code); save `model.state_dict()` instead.") from e
    except (safetensors.SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError) as e:
        raise SourceError(f"{where}: expected a checkpoint, got a damaged or truncated file ({_first_line(e)}).") from e
    for wrapper in ("state_dict", "model", "net"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise SourceError(f"{where}: expected a state dict (names -> tensors), got {type(content).__name__}.")
    if all(k.startswith("module.") for k in content):
        content = {k.removeprefix("module."): v for k, v in content.items()}
    return dict(content)


def _renamed(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], where: str) -> Mapping[str, Tensor]:
    """The tensors under the architecture's names when they differ in the name of one module, and in nothing else."""
    missing, unexpected = _lacking(expected, tensors), _lacking(tensors, expected)
    ours, theirs = _module_of(missing), _module_of(unexpected)
    if not ours or not theirs or any(_below(k, ours) for k in tensors) or any(_below(k, theirs) for k in expected):
        return tensors
    renamed = {ours + k.removeprefix(theirs) if _below(k, theirs) else k: v for k, v in tensors.items()}
    if _lacking(expected, renamed) or _lacking(renamed, expected) or any(renamed[k].shape != expected[k].shape for k in missing):
        return tensors
    logger.info("%s: its module '%s' is '%s' in the architecture, and is loaded as that.", where, theirs, ours)
    return renamed


def _lacking(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    return [k for k in wanted if k not in found and not _is_counter(k)]


def _module_of(names: Sequence[str]) -> str:
    """The innermost module that holds all of these weights; "" when that is the whole network."""
    paths = [name.split(".")[:-1] for name in names]
    shared = takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False))
    return ".".join(parts[0] for parts in shared)


def _below(name: str, module: str) -> bool:
    return name.startswith(f"{module}.")


def _is_counter(name: str) -> bool:
    """BatchNorm's count of batches: old checkpoints lack it, and nothing reads it."""
    return name.endswith("num_batches_tracked")


def _counters(network: nn.Module) -> dict[str, Tensor]:
    return {k: v for k, v in network.state_dict().items() if _is_counter(k)}


def _check_fits(network: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    expected = network.state_dict()
    missing = _lacking(expected, tensors)
    unexpected = [k for k in tensors if k not in expected]
    if missing or unexpected:
        raise SourceError(f"{where}: keys do not match the architecture: missing {_some(missing)}, unexpected {_some(unexpected)}.")
    for k, v in tensors.items():
        if v.shape != expected[k].shape:
            shapes = f"{tuple(v.shape)}, expected {tuple(expected[k].shape)}"
            raise SourceError(f"{where}: '{k}' has shape {shapes}; check the architecture and the number of classes.")
        if v.is_floating_point() and not torch.isfinite(v).all():
            raise SourceError(f"{where}: '{k}' holds NaN or infinite values, expected finite weights.")


def _some(names: Sequence[str], most: int = 3) -> str:
    shown = ", ".join(names[:most]) or "none"
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
