"""The trained network that work starts from: its weights, its classes and the input space it was trained in."""

from __future__ import annotations

import copy
import json
import math
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from seam.errors import SourceError, words
from seam.files import read_json, sha256_file, write_text
from seam.networks.build import build
from seam.networks.plain import plain_scores
from seam.networks.state_dicts import load_weights, save_weights

_KEPT = 2
"""Sources that a process keeps in memory: the one of the problems and the one of the transfers."""
_MOST_VALUES = 1 << 28
"""Of one image."""
_loaded: dict[Path, tuple[tuple[int, ...], Source]] = {}
_loading = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class SourceInfo:
    """What is known of a source; `source.json` has these fields."""

    architecture: str
    num_classes: int
    """Logits."""
    classes: tuple[str, ...] = ()
    """In the order of the logits; empty where their names are not known."""
    mean: tuple[float, ...]
    """Normalisation, a value for each channel that the network takes, pixels in [0, 1]."""
    std: tuple[float, ...]
    image_shape: tuple[int, int, int]
    """(height, width, channels) of the images as stored that it is used on."""
    sha256: str = ""
    """Of source.safetensors; `save_source` fills it in."""
    params_total: int
    trained_here: bool = False
    """False for a given checkpoint: it may have been trained on any of the training images."""
    val_accuracy: float | None = None
    """Over all its classes, a fraction; None: not measured."""
    test_accuracy: float | None = None
    """Over all its classes, on the data set's test images, a fraction; None: not measured."""
    files: Mapping[str, str] = field(default_factory=dict)
    """The user's own files it was made from (checkpoint, architecture) -> their sha256."""
    fetched_from: str | None = None
    """Where a checkpoint that is not a file came from: an address, or "models:/NAME/VERSION"."""
    backdoor: Mapping[str, Any] | None = None
    """Of a backdoor that was planted in it: what it is and how well it took; None: there is none."""
    computed_on: str | None = None
    """The machine that it was trained or measured on, in words; None: not known."""
    warnings: tuple[str, ...] = ()

    @property
    def pixels(self) -> int:
        """Of one image."""
        return self.image_shape[0] * self.image_shape[1]


@dataclass(frozen=True)
class Source:
    """A trained network (eval mode, float32, on the CPU) and what is known of it."""

    network: nn.Module
    info: SourceInfo

    def preprocess(self) -> Preprocess:
        """Images as stored, to the network's input; a new module on the CPU."""
        return Preprocess(self.info.mean, self.info.std)

    def example(self, images: UInt8[Tensor, "batch h w c"] | None = None) -> Float[Tensor, "batch channels h w"]:
        """An input of the network, on the CPU: `images` normalised, or one of zeros of its image size."""
        if images is None:
            return torch.zeros(1, len(self.info.mean), *self.info.image_shape[:2])
        made: Tensor = self.preprocess()(images)
        return made


class Preprocess(nn.Module):
    """Images as stored, to the network's input."""

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Take the normalisation of pixels in [0, 1], a value each for every channel of the network's input."""
        super().__init__()
        deviation = torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1)
        self.register_buffer("scale", 1 / (255 * deviation))
        self.register_buffer("shift", -torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1) / deviation)

    def forward(self, images: UInt8[Tensor, "batch h w c"]) -> Float[Tensor, "batch channels h w"]:
        """Normalised float32 NCHW; one grey channel is repeated where the network takes more."""
        return images.permute(0, 3, 1, 2).float() * self.scale + self.shift


def per_channel(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """A value for each channel, of one value for all of them or one for each.

    Raises:
        SourceError: another number of values.
    """
    if len(values) not in (1, channels):
        wanted = "1 value" if channels == 1 else f"1 or {channels} values"
        raise SourceError(f"expected {wanted}, got {len(values)}, for a network that takes {channels} channels.")
    return tuple(values) * (channels // len(values))


def channels_taken(network: nn.Module, image_shape: Sequence[int]) -> int:
    """Channels of what a network is given of such images: theirs; grey ones are repeated if it takes three.

    Args:
        network: in eval mode, on the CPU.
        image_shape: (height, width, channels) of the images as stored.
    """
    height, width, stored = image_shape
    if stored != 1:
        return stored
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for channels in (3, 1):
            with suppress(Exception):  # whatever the network's own code raises
                network(torch.zeros(2, channels, height, width))
                return channels
    return 3


def save_source(network: nn.Module, info: SourceInfo, folder: Path) -> None:
    """Write source.safetensors and source.json (with the hash of the former) into `folder`.

    Args:
        network: plain (`seam.networks.plain`): its weights are its parameters.
        info: of it.
        folder: it is there.
    """
    weights = folder / "source.safetensors"
    save_weights(network, weights)
    content = {**asdict(info), "sha256": sha256_file(weights)}
    write_text(folder / "source.json", json.dumps(content, indent=2) + "\n")


def load_source(folder: Path) -> Source:
    """Read what `save_source` wrote; once a process, while the files stay what they are.

    Nothing is drawn from torch's global generator.

    Returns:
        A source whose network is the caller's own copy, to change as it likes.

    Raises:
        SourceError: missing, damaged, or weights whose hash is not the recorded one.
    """
    paths = (folder / "source.json", folder / "source.safetensors")
    try:
        state = tuple(n for s in (path.stat() for path in paths) for n in (s.st_ino, s.st_mtime_ns, s.st_size))
    except OSError as e:
        raise SourceError(
            f"{paths[0]}: expected a prepared source, got {e}", hint="rerun_producer", path=paths[0]
        ) from e
    key = folder.resolve()
    with _loading:
        known = _loaded.pop(key, None)
        source = known[1] if known is not None and known[0] == state else _read_source(*paths)
        _loaded[key] = (state, source)
        if len(_loaded) > _KEPT:
            del _loaded[next(iter(_loaded))]
    return Source(copy.deepcopy(source.network), source.info)


def _checked(info: SourceInfo, weights_bytes: int) -> SourceInfo:
    """The same, if what is computed with has its type, and a size that the file of weights can fill.

    Raises:
        ValueError: a field has not.
    """
    good = {
        "architecture": isinstance(info.architecture, str),
        "num_classes": type(info.num_classes) is int and 0 < info.num_classes <= weights_bytes,
        "classes": _all(info.classes, str) and len(info.classes) in (0, info.num_classes),
        "mean": _all(info.mean, float, int) and len(info.mean) > 0,
        "std": _all(info.std, float, int) and len(info.std) == len(info.mean) and all(std > 0 for std in info.std),
        "image_shape": _all(info.image_shape, int)
        and len(info.image_shape) == 3
        and min(info.image_shape) > 0
        and math.prod(info.image_shape) <= _MOST_VALUES,
        "sha256": isinstance(info.sha256, str),
        "params_total": type(info.params_total) is int,
        "files": isinstance(info.files, Mapping),
        "warnings": _all(info.warnings, str),
    }
    for name, is_good in good.items():
        if not is_good:
            raise ValueError(f"{name}: {str(getattr(info, name))[:80]}")
    return info


def _all(values: object, *kinds: type) -> bool:
    return isinstance(values, tuple) and all(type(value) in kinds for value in values)


def _read_source(path: Path, weights: Path) -> Source:
    try:
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in read_json(path).items()}
        info = _checked(SourceInfo(**fields), weights.stat().st_size)
    except (OSError, ValueError, TypeError) as e:
        raise SourceError(
            f"{path}: expected a prepared source, got {words(e)}", hint="rerun_producer", path=path
        ) from e
    found = sha256_file(weights)
    if found != info.sha256:
        raise SourceError(f"{weights}: expected sha256 {info.sha256}, got {found}", hint="rerun_producer", path=weights)
    with torch.random.fork_rng(devices=[]):  # fresh weights are drawn, and replaced
        network = build(info.architecture, info.num_classes)
    source = Source(network.eval(), info)
    try:
        plain_scores(network, source.example(), info.num_classes)
    except SourceError:
        raise
    except (RuntimeError, ValueError, IndexError, TypeError) as e:  # whatever a network says of other images
        raise SourceError(
            f"{path}: expected a network for images of shape {info.image_shape}, got {words(e)}",
            hint="rerun_producer",
            path=path,
        ) from e
    load_weights(network, weights)
    return source
