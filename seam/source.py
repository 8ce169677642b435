"""The trained network that is re-engineered: its weights, its classes and the input space it was trained in."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
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
    _check_fits(network, tensors := read_state_dict(path), path)
    network.load_state_dict(tensors)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of a torch checkpoint; wrappers (`state_dict`, `module.`) are removed.

    Nothing is unpickled but tensors and plain containers.

    Raises:
        SourceError: missing, truncated, or not a state dict.
    """
    if not path.is_file():
        raise SourceError(f"{path}: no such checkpoint file; give an existing .safetensors, .pt or .pth file.")
    try:
        content = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as e:
        raise SourceError(f"{path}: refused, it is not a plain state dict (loading it would execute code); save `model.state_dict()` instead.") from e
    except (safetensors.SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError) as e:
        raise SourceError(f"{path}: expected a checkpoint, got a damaged or truncated file ({_first_line(e)}).") from e
    for wrapper in ("state_dict", "model", "net"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise SourceError(f"{path}: expected a state dict (names -> tensors), got {type(content).__name__}.")
    if all(k.startswith("module.") for k in content):
        content = {k.removeprefix("module."): v for k, v in content.items()}
    return dict(content)


def _check_fits(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    expected = network.state_dict()
    missing = [k for k in expected if k not in tensors and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in tensors if k not in expected]
    if missing or unexpected:
        raise SourceError(f"{path}: keys do not match the architecture: missing {_some(missing)}, unexpected {_some(unexpected)}.")
    for k, v in tensors.items():
        if v.shape != expected[k].shape:
            shapes = f"{tuple(v.shape)}, expected {tuple(expected[k].shape)}"
            raise SourceError(f"{path}: '{k}' has shape {shapes}; check the architecture and the number of classes.")
        if v.is_floating_point() and not torch.isfinite(v).all():
            raise SourceError(f"{path}: '{k}' holds NaN or infinite values, expected finite weights.")
    for k in expected:
        if k.endswith("num_batches_tracked") and isinstance(tensors, dict):
            tensors.setdefault(k, expected[k])


def _some(names: Sequence[str], most: int = 3) -> str:
    shown = ", ".join(names[:most]) or "none"
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
