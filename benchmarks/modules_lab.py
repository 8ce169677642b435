"""What the reproduction of modules works with: images, sources trained on them, and their modules, all kept on disk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import seam
from seam.checkpoint import digest_of
from seam.configs.modules import ModulesConfig
from seam.configs.networks import SourceConfig
from seam.configs.runtime import RuntimeConfig
from seam.data.images import LabelledImages
from seam.door.parts import Modules
from seam.errors import DataError
from seam.files import read_json, write_json
from seam.networks.build import build
from seam.networks.predict import accuracy, predict
from seam.networks.source import Preprocess
from seam.networks.state_dicts import load_weights, save_weights
from seam.runtime import start
from seam.training.finetune import train_from_scratch

MEAN, STD = (0.5,) * 3, (0.25,) * 3
"""One normalisation for all data sets, so that modules of several can be composed."""
WIDTHS = (32, 64, 128, 128)
VAL_SHARE = 0.2
LEAST = 64
"""Images of an epoch's batches: small data sets take smaller ones."""


def narrow_vgg(num_classes: int) -> nn.Module:
    """Four 3x3 convolutions of 32, 64, 128 and 128 kernels with BatchNorm; any image side of 8 or more."""
    layers, before = list[nn.Module](), 3
    for number, width in enumerate(WIDTHS, 1):
        layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if number < len(WIDTHS) else []
        before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, num_classes))


def made(architecture: str, num_classes: int) -> nn.Module:
    """A new network: `vgg`, or one that the library has by name."""
    return narrow_vgg(num_classes) if architecture == "vgg" else build(architecture, num_classes)


@dataclass(frozen=True)
class Splits:
    """Images of some classes; labels are indices into these."""

    name: str
    classes: tuple[str, ...]
    train: LabelledImages
    val: LabelledImages
    """Out of the training images."""
    test: LabelledImages

    @property
    def side(self) -> int:
        """Of an image, in pixels."""
        return int(self.train.images.shape[1])

    def only(self, classes: Sequence[str]) -> Splits:
        """The images of some of the classes, which get new labels in their order."""
        order = torch.full((len(self.classes),), -1)
        order[[self.classes.index(c) for c in classes]] = torch.arange(len(classes))

        def of(data: LabelledImages) -> LabelledImages:
            rows = order[data.labels] >= 0
            return LabelledImages(data.images[rows], order[data.labels[rows]])

        return Splits(self.name, tuple(classes), of(self.train), of(self.val), of(self.test))

    def beside(self, other: Splits) -> Splits:
        """The images of both, of different classes and one size, shuffled by nothing."""

        def of(split: str) -> LabelledImages:
            one, two = getattr(self, split), getattr(other, split)
            return both(one, LabelledImages(two.images, two.labels + len(self.classes)))

        parts = map(of, ("train", "val", "test"))
        return Splits(f"{self.name}+{other.name}", self.classes + other.classes, *parts)

    def sized(self, side: int, channels: int) -> Splits:
        """The same with another side, bilinear (antialiased), and grey brought to as many channels."""
        if (side, channels) == tuple(self.train.images.shape[2:]):
            return self

        def of(data: LabelledImages) -> LabelledImages:
            images = data.images.permute(0, 3, 1, 2).float()
            grown = F.interpolate(images, size=(side, side), mode="bilinear", antialias=True)
            stored = grown.round().byte().permute(0, 2, 3, 1)
            return LabelledImages(stored.expand(-1, -1, -1, channels).contiguous(), data.labels)

        return replace(self, train=of(self.train), val=of(self.val), test=of(self.test))

    def counts(self) -> dict[str, int]:
        """Images of each split."""
        return {s: len(getattr(self, s)) for s in ("train", "val", "test")}


def both(one: LabelledImages, other: LabelledImages) -> LabelledImages:
    """The images of the one, then those of the other."""
    return LabelledImages(torch.cat([one.images, other.images]), torch.cat([one.labels, other.labels]))


def read(name: str, path: Path, images: int, seed: int) -> Splits:
    """Draw images from an npz file of x_train, y_train, x_test, y_test and classes; val comes out of train.

    Raises:
        DataError: there is no such file, or it holds others.
    """
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = {key: held[key] for key in ("x_train", "y_train", "x_test", "y_test")}
            known = held["classes"] if "classes" in held else np.unique(arrays["y_train"])
    except (OSError, KeyError, ValueError) as e:
        raise DataError(f"{path}: expected an npz file of x_train, y_train, x_test, y_test, got {e}") from e
    rows = np.random.default_rng(seed).permutation(len(arrays["y_train"]))[:images]
    num_val = round(VAL_SHARE * len(rows))

    def of(split: str, chosen: Any) -> LabelledImages:
        found = arrays[f"x_{split}"][chosen]
        labels: Tensor = torch.from_numpy(arrays[f"y_{split}"][chosen].astype(np.int64))
        return LabelledImages(torch.from_numpy(found if found.ndim == 4 else found[..., None]), labels)

    parts = of("train", rows[num_val:]), of("train", rows[:num_val]), of("test", slice(None))
    return Splits(name, tuple(f"{name}-{c}" for c in known), *parts)


@dataclass(frozen=True)
class Trained:
    """A network and what it took."""

    network: nn.Module
    images: Splits
    cpu_seconds: float

    def right(self, split: str = "test") -> float:
        """Its accuracy."""
        return right(self.network, getattr(self.images, split))


def logits_of(network: nn.Module, data: LabelledImages) -> Tensor:
    """A network's outputs."""
    return predict(network, data, Preprocess(MEAN, STD))


def right(network: nn.Module, data: LabelledImages) -> float:
    """Accuracy of a network that takes images as all of them do here."""
    return accuracy(logits_of(network, data), data.labels)


@dataclass(frozen=True)
class Lab:
    """Sources of one architecture, and modules of them; what was made once is read again."""

    architecture: str
    epochs: int
    seed: int
    folder: Path

    def train(self, images: Splits, name: str, epochs: int | None = None) -> Trained:
        """A network for all classes of the images, from scratch."""
        config = SourceConfig(epochs=epochs or self.epochs, augment="crop", batch_size=_batch(len(images.train)))
        network = made(self.architecture, len(images.classes))
        place = self._place(name, images, asdict(config))
        if (place / "seconds.json").is_file():
            load_weights(network, place / "source.safetensors")
        else:
            runtime = start(RuntimeConfig(device="cpu", precision="fp32", threads=1), 0)
            torch.manual_seed(self.seed)
            network, begin = made(self.architecture, len(images.classes)), time.process_time()
            data = images.train, images.val
            train_from_scratch(network, Preprocess(MEAN, STD), *data, config, runtime, self.seed)
            place.mkdir(parents=True, exist_ok=True)
            save_weights(network, place / "source.safetensors")
            write_json(place / "seconds.json", time.process_time() - begin)
        return Trained(network.eval().requires_grad_(False), images, read_json(place / "seconds.json"))

    def parts(self, source: Trained, name: str, method: str, config: ModulesConfig) -> tuple[Modules, float]:
        """The modules of a source, and the CPU seconds they took."""
        images, numbers = source.images, asdict(getattr(config, method))
        place = self._place(f"{name}-{method}", images, numbers)
        if not (place / "seconds.json").is_file():
            begin = time.process_time()
            modules = seam.modularize(
                source.network,
                given(images.train),
                val=given(images.val),
                method=method,
                class_names=images.classes,
                mean=MEAN,
                std=STD,
                config=config,
                name=name,
                seed=self.seed,
                folder=place / "state",
                device="cpu",
                progress=False,
            )
            modules.save(place / "modules")
            write_json(place / "seconds.json", time.process_time() - begin)
        return seam.load_modules(place / "modules", source.network), read_json(place / "seconds.json")

    def _place(self, name: str, images: Splits, settings: Any) -> Path:
        key = digest_of(self.architecture, self.seed, images.classes, images.counts(), images.side, settings)
        return self.folder / f"{images.name}-{self.architecture}-seed{self.seed}-{name}-{key[:8]}"


def _batch(images: int) -> int:
    return 64 if images >= 64 * LEAST else 32


def given(data: LabelledImages) -> tuple[Any, Any]:
    """Images as the library's calls take them."""
    return data.images.numpy(), data.labels.numpy()
