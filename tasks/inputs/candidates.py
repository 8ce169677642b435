"""The networks that a selection chooses from, as parameters name them: what each is, and what is known of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from seam.data.prepared import ImageData
from seam.data.statistics import channel_statistics
from seam.door.candidates import UNKNOWN, Candidate
from seam.errors import ConfigError, SeamError, SourceError
from seam.networks.build import BUILT_IN, build
from seam.networks.checkpoints_online import is_online
from seam.networks.plain import load_either_form
from seam.networks.source import load_source
from tasks.inputs.checkpoint import REGISTRY, SUFFIXES, Checkpoint, fetch_checkpoint, files_of
from tasks.project.data_guard import digest_of_data
from tasks.project.stage_configs import SelectionConfig

_PREPARED, _WEIGHTS = "source.json", "source.safetensors"
_TORCHVISION = "torchvision:"
_LICENCE_KEYS = ("license", "licence")
_ANY = 10
"""Scores of a network that is built to see what its last layer is called."""
_CARDS = ("README.md", "readme.md")


@dataclass
class Found:
    """One candidate: how `prepare_source` would be told of it, and what was learnt as it was loaded."""

    architecture: str | None
    """As in the parameters; None: not known before its tensors are read."""
    checkpoint: str
    """As in the parameters."""
    mean: tuple[float, ...] | None = None
    """Normalisation; None: that of the shelf."""
    std: tuple[float, ...] | None = None
    licence: str = UNKNOWN
    origin: str = UNKNOWN
    public: bool | None = None
    outputs: int | None = None
    """Scores that it gives; known once it was loaded."""
    fetched: str | None = None
    """models:/NAME/VERSION or the address that it came from."""
    files: dict[str, str] = field(default_factory=dict)
    """The user's own files that it is made from -> their sha256."""


@dataclass(frozen=True)
class Shelf:
    """Where candidates are read from, and what is assumed of those that do not say it themselves."""

    root: Path
    config: SelectionConfig
    shape: tuple[int, int, int]
    """Channels, height and width of what networks take of the images."""
    mean: tuple[float, ...]
    """Normalisation of networks that have none of their own."""
    std: tuple[float, ...]

    @classmethod
    def of(cls, root: Path, config: SelectionConfig, data: ImageData) -> Shelf:
        """For a data set: where nothing else is said, networks are normalised by its training images."""
        mean, std = config.mean, config.std
        if mean is None or std is None:
            mean, std = (tuple(np.round(values, 6).tolist()) for values in channel_statistics(data.x_train))
        height, width, channels = data.image_shape
        return cls(root, config, (3 if channels == 1 else channels, height, width), mean, std)

    def candidates(self) -> dict[str, tuple[Candidate, Found]]:
        """All that the parameters name, each under a name of its own; nothing is read but folders.

        Raises:
            ConfigError: a folder without networks in it.
        """
        found = dict[str, tuple[Candidate, Found]]()
        for given in self.config.candidates:
            for name, one in self._of(given):
                one.mean, one.std = one.mean or self.mean, one.std or self.std
                found[name] = (self._candidate(one), one)
        return found

    def _candidate(self, found: Found) -> Candidate:
        return Candidate(
            load=partial(self._load, found),
            mean=found.mean,
            std=found.std,
            origin=found.origin,
            licence=found.licence,
            public=found.public,
        )

    def _of(self, given: str) -> Iterator[tuple[str, Found]]:
        """The candidates that one name stands for, and what each is called."""
        architecture, checkpoint = split_name(given)
        path = self.root / checkpoint
        if not checkpoint.startswith(REGISTRY) and not is_online(checkpoint) and path.is_dir():
            if (path / _PREPARED).is_file():
                yield given, self._prepared(checkpoint)
                return
            yield from self._folder(architecture, checkpoint)
            return
        if checkpoint.startswith(_TORCHVISION):
            yield given, _of_torchvision(architecture, checkpoint)
            return
        online = is_online(checkpoint)
        origin = "MLflow registry" if checkpoint.startswith(REGISTRY) else checkpoint if online else "a file"
        found = Found(architecture, checkpoint, origin=origin, public=True if online else None)
        found.licence = UNKNOWN if online or checkpoint.startswith(REGISTRY) else licence_of(path)
        yield given, found

    def _folder(self, architecture: str | None, folder: str) -> Iterator[tuple[str, Found]]:
        inside = sorted((self.root / folder).iterdir())
        names = [f"{folder.rstrip('/')}/{entry.name}" for entry in inside if _is_network(entry)]
        if not names:
            raise ConfigError(
                f"{folder}: expected networks in it ({', '.join(SUFFIXES)}, or folders with {_PREPARED}), got none;"
                " correct the candidates."
            )
        for name in names:
            yield from self._of(name if architecture is None else f"{architecture}={name}")

    def _prepared(self, folder: str) -> Found:
        """A source that a stage or `seam.networks.source.save_source` wrote."""
        path = self.root / folder
        try:
            info = json.loads((path / _PREPARED).read_text())
            mean, std = tuple(map(float, info["mean"])), tuple(map(float, info["std"]))
            found = Found(str(info["architecture"]), f"{folder.rstrip('/')}/{_WEIGHTS}", mean, std)
        except (OSError, ValueError, KeyError, TypeError):
            return Found(None, folder, origin="a prepared source")  # what is wrong is said as it is loaded
        trained = "trained here" if info.get("trained_here") else info.get("fetched_from") or "a prepared source"
        found.origin, found.licence = trained, licence_of(path / _WEIGHTS)
        found.public = True if is_online(str(info.get("fetched_from"))) else None
        return found

    def _load(self, found: Found) -> nn.Module:
        """The network of a candidate; what is learnt on the way is noted in it.

        Raises:
            SeamError: it cannot be had, or fits no architecture that is known.
        """
        if not found.checkpoint.endswith(SUFFIXES) and not _fetched(found.checkpoint):
            return load_source(self.root / found.checkpoint).network  # which says what is wrong with it
        known = found.architecture or "unknown"
        held = fetch_checkpoint(found.checkpoint, known, self.root)
        found.fetched = held.fetched_from
        names = [found.architecture] if found.architecture else [*self.config.architectures, *BUILT_IN]
        network, found.architecture, found.outputs = self._fitting(names, held, found.checkpoint)
        named = files_of(found.architecture, found.checkpoint, self.root)
        found.files = {name: digest_of_data(self.root / name) for name in named}
        return network

    def _fitting(self, names: Sequence[str], held: Checkpoint, where: str) -> tuple[nn.Module, str, int]:
        """The first architecture that takes the tensors, with them in it; its name, and its scores."""
        refused = list[SeamError]()
        for name in names:
            try:
                with torch.random.fork_rng(devices=[]):
                    outputs = outputs_of(build(name, _ANY), held.tensors)
                    network = build(name, outputs).eval()
                load_either_form(network, held.tensors, where, torch.zeros(2, *self.shape))
                return network, name, outputs
            except SeamError as e:
                refused.append(e)
        if len(refused) == 1:
            raise refused[0]
        raise SourceError(
            f"{where}: expected weights of a known architecture ({', '.join(names)}), got others; name it before the"
            " file: ARCHITECTURE=FILE, or add it to architectures."
        )


def split_name(given: str) -> tuple[str | None, str]:
    """Architecture and checkpoint of a candidate as it is named: ARCHITECTURE=CHECKPOINT, or either alone.

    Raises:
        ConfigError: nothing before or behind the sign.
    """
    architecture, sign, checkpoint = given.partition("=")
    if sign and not (architecture and checkpoint):
        raise ConfigError(f"candidates: expected ARCHITECTURE=CHECKPOINT, got '{given}'; name both.")
    if sign and "?" not in architecture and "//" not in architecture:
        return architecture, checkpoint
    return (given, f"{_TORCHVISION}DEFAULT") if given.startswith(_TORCHVISION) else (None, given)


def outputs_of(network: nn.Module, tensors: Mapping[str, Tensor]) -> int:
    """Scores that a checkpoint has: the first side of what it holds of the network's last weight.

    Args:
        network: of the architecture, with any number of scores.
        tensors: of the checkpoint, under any one name in it.

    Raises:
        SourceError: it holds no such weight.
    """
    last = [name for name, tensor in network.state_dict().items() if tensor.ndim > 1][-1]
    found = [tensor for name, tensor in tensors.items() if f".{name}".endswith(f".{last}") and tensor.ndim > 1]
    if not found:
        raise SourceError(f"expected '{last}' in the checkpoint, got none", hint="architecture")
    return int(found[0].shape[0])


def licence_of(weights: Path) -> str:
    """What a file of weights or the model card beside it says of its licence."""
    with suppress(SafetensorError, OSError), safe_open(weights, framework="numpy") as file:
        about = {key.lower(): value for key, value in (file.metadata() or {}).items()}
        if said := next((about[key] for key in _LICENCE_KEYS if key in about), None):
            return str(said)[:80]
    for card in (weights.with_name(name) for name in _CARDS):
        with suppress(OSError, UnicodeDecodeError):
            first, *lines = card.read_text()[:4000].splitlines() or [""]
            head = lines[: lines.index("---")] if first == "---" and "---" in lines else []
            for key, _, value in (line.partition(":") for line in head):
                if key.strip().lower() in _LICENCE_KEYS and value.strip():
                    return value.strip().strip("'\"")[:80]
    return UNKNOWN


def _of_torchvision(architecture: str | None, checkpoint: str) -> Found:
    """Weights that torchvision publishes; where it has none of that name, it is said as they are loaded."""
    found = Found(architecture, checkpoint, origin="torchvision", public=True)
    name, weights = (architecture or "").removeprefix(_TORCHVISION), checkpoint.removeprefix(_TORCHVISION)
    with suppress(ValueError, KeyError, AttributeError):
        from torchvision.models import get_model_weights

        entry: Any = get_model_weights(name)[weights]
        transforms = entry.transforms()
        found.mean, found.std = tuple(transforms.mean), tuple(transforms.std)
        found.licence = str(entry.meta.get("license", UNKNOWN))
        found.origin = f"torchvision, {entry.name}"
    return found


def _fetched(checkpoint: str) -> bool:
    return checkpoint.startswith(REGISTRY) or is_online(checkpoint)


def _is_network(entry: Path) -> bool:
    return entry.suffix in SUFFIXES if entry.is_file() else (entry / _PREPARED).is_file()
