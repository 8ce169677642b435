"""What the reproduction of the choice among networks works with: images, sources of many kinds, few-image problems."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from digits import digits
from projects import ROOT
from torch import Tensor, nn
from torch.nn import functional as F

from seam.configs.networks import SourceConfig
from seam.configs.runtime import RuntimeConfig
from seam.data.images import LabelledImages
from seam.door.given import labelled
from seam.errors import DataError
from seam.files import read_json, write_json
from seam.networks.build import build
from seam.networks.checkpoints.read import read_state_dict
from seam.networks.predict import accuracy, predict
from seam.networks.source import Preprocess
from seam.networks.state_dicts import load_tensors, load_weights, save_weights
from seam.runtime import start
from seam.training.finetune import train_from_scratch

HALF = ((0.5,) * 3, (0.25,) * 3)
"""Mean and std of the networks that are trained here."""
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR100 = ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))
WIDE, NARROW = (32, 64, 128, 128), (8, 16, 32, 32)
SCORED = 1000
"""Test images that a source's own accuracy is measured on."""


@dataclass(frozen=True)
class Set:
    """A data set, as stored."""

    classes: tuple[str, ...]
    train: LabelledImages
    test: LabelledImages


@dataclass(frozen=True)
class Source:
    """A network to choose from: given as a file, or trained here."""

    data: str
    """That it was trained on; of a given one, that its accuracy is measured on, empty where it is published."""
    epochs: int = 0
    widths: tuple[int, ...] = WIDE
    images: int = 8000
    """Of its training, from the front of a shuffled order."""
    some: tuple[int, ...] = ()
    """Labels of its classes; all if empty."""
    file: str = ""
    """In the folder of the data."""
    architecture: str = ""
    outputs: int = 0
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] = HALF
    published: float | None = None
    """Accuracy, where it is not measured."""


@dataclass(frozen=True)
class Problem:
    """Few images of some classes, which a source is transferred to."""

    data: str
    per_class: int
    """Images to train on and to choose on, of each class, from the end of the shuffled order."""
    some: tuple[str, ...] = ()
    """Names of its classes; all if empty."""
    pilot: bool = False
    """Whether settings were chosen on it."""
    change: str = ""
    """What is done to the images: turned, mirrored or inverted."""


@dataclass(frozen=True)
class Form:
    """Sources and problems of one size of images."""

    name: str
    side: int
    folder: Path
    sources: Mapping[str, Source]
    problems: Mapping[str, Problem]
    sets: Callable[[str], Set] = field(repr=False)


def vgg(widths: Sequence[int], num_classes: int) -> nn.Module:
    """Four 3x3 convolutions with BatchNorm; any image side of 8 or more."""
    layers, before = list[nn.Module](), 3
    for number, width in enumerate(widths, 1):
        layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if number < len(widths) else []
        before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, num_classes))


def digits_form() -> Form:
    """What needs no folder: ten digits of 8 x 8 pixels."""
    low, high = tuple(range(5)), tuple(range(5, 10))
    sources = {
        "all digits, 20 epochs": Source("digits", 20, images=800),
        "all digits, 2 epochs": Source("digits", 2, images=800),
        "all digits, narrow": Source("digits", 20, NARROW, 800),
        "digits 0 to 4": Source("digits", 20, some=low, images=800),
        "digits 5 to 9": Source("digits", 20, some=high, images=800),
        "digits 0 and 1": Source("digits", 20, some=(0, 1), images=800),
        "digits 0 to 4, 40 images": Source("digits", 20, some=low, images=80),
        "untrained": Source("digits", 0),
    }
    problems = {
        "inverted": Problem("digits", 8, change="inverted", pilot=True),
        "digits 0 to 4": Problem("digits", 8, tuple("01234")),
        "digits 5 to 9": Problem("digits", 8, tuple("56789")),
        "turned": Problem("digits", 8, change="turned"),
        "mirrored": Problem("digits", 8, change="mirrored"),
    }
    sets = cache(lambda name: _sized(_npz(digits()), 8))
    return Form("digits", 8, digits().parent, sources, problems, sets)


def pictures_form(folder: Path) -> Form:
    """Pictures of 32 pixels, of a folder: cifar10.npz, cifar100.npz, fashion_mnist.npz, flowers17/ and weights/."""
    sources = {
        "CIFAR-10, ResNet20, given": Source(
            "cifar10",
            file="weights/cifar10_resnet20_shortcutA.safetensors",
            architecture="resnet20_a",
            outputs=10,
            normalisation=IMAGENET,
        ),
        "CIFAR-100, ResNet20, given": Source(
            "cifar100",
            file="weights/cifar100_resnet20_widestem.safetensors",
            architecture=f"{ROOT / 'benchmarks/networks/cifar100_widestem.py'}:widestem",
            outputs=100,
            normalisation=CIFAR100,
        ),
        "ImageNet, SqueezeNet, given": Source(
            "",
            file="weights/imagenet_squeezenet1_1.safetensors",
            architecture="torchvision:squeezenet1_1",
            outputs=1000,
            normalisation=IMAGENET,
            published=0.58178,
        ),
        "CIFAR-10, VGG": Source("cifar10", 8),
        "CIFAR-10, VGG, 1 epoch": Source("cifar10", 1),
        "CIFAR-10, VGG, narrow": Source("cifar10", 8, NARROW),
        "CIFAR-100 (30 classes), VGG": Source("cifar100", 8, images=4000),
        "Fashion-MNIST, VGG": Source("fashion_mnist", 5, images=4000),
        "digits, VGG": Source("digits", 15, images=800),
    }
    problems = {
        "fish": Problem("cifar100", 48, ("aquarium_fish", "flatfish", "ray", "shark", "trout"), pilot=True),
        "clothes": Problem("fashion_mnist", 20),
        "flowers, CIFAR-100": Problem("cifar100", 48, ("orchid", "poppy", "rose", "sunflower", "tulip")),
        "animals, CIFAR-10": Problem("cifar10", 40, ("bird", "cat", "deer", "dog", "frog", "horse")),
        "17 flowers": Problem("flowers17", 15),
        "food containers, CIFAR-100": Problem("cifar100", 48, ("bottle", "bowl", "can", "cup", "plate")),
        "digits": Problem("digits", 20),
    }
    return Form("pictures", 32, folder, sources, problems, cache(partial(_picture_set, folder)))


def _picture_set(folder: Path, name: str) -> Set:
    if name == "digits":
        return _sized(_npz(digits()), 32)
    if name == "flowers17":
        parts = [labelled(folder / name / split, split, 32) for split in ("train", "test")]
        train, test = (LabelledImages(part.data.images[:], part.data.labels) for part in parts)
        return Set(parts[0].classes or (), train, test)
    return _sized(_npz(folder / f"{name}.npz"), 32)


def _npz(path: Path) -> Set:
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = {key: held[key] for key in ("x_train", "y_train", "x_test", "y_test", "classes")}
    except (OSError, KeyError, ValueError) as e:
        raise DataError(f"{path}: expected an npz file of x_train, y_train, x_test, y_test and classes, got {e}") from e

    def of(split: str) -> LabelledImages:
        images: npt.NDArray[Any] = arrays[f"x_{split}"]
        labels = torch.from_numpy(arrays[f"y_{split}"].astype(np.int64))
        return LabelledImages(torch.from_numpy(images if images.ndim == 4 else images[..., None]), labels)

    return Set(tuple(map(str, arrays["classes"])), of("train"), of("test"))


def _sized(held: Set, side: int) -> Set:
    """Three channels, and this side (bilinear)."""
    return Set(
        held.classes, *(LabelledImages(sized(part.images, side), part.labels) for part in (held.train, held.test))
    )


def sized(images: Tensor, side: int) -> Tensor:
    """Images of three channels and this side."""
    if images.shape[1] != side:
        pieces = [piece.permute(0, 3, 1, 2).float() for piece in images.split(1024)]
        grown = [F.interpolate(p, size=(side, side), mode="bilinear", antialias=True) for p in pieces]
        images = torch.cat([g.round().byte() for g in grown]).permute(0, 2, 3, 1)
    return images.expand(-1, -1, -1, 3).contiguous()


def shuffled(labels: Tensor, seed: int) -> Tensor:
    """The order that sources take images from the front of, and problems from the end."""
    return torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))


def load_source(form: Form, name: str, seed: int, kept: Path) -> tuple[nn.Module, float]:
    """A source, trained here if need be, and its accuracy on its own classes."""
    source = form.sources[name]
    held = form.sets(source.data) if source.data else None
    if source.file:
        network = build(source.architecture, source.outputs)
        file = form.folder / source.file
        load_tensors(network, read_state_dict(file), str(file))
        network.eval()
        if held is None:
            return network, source.published or 0.0
        rows = shuffled(held.test.labels, seed)
        return network, _right(network, only(held.test, held.test.labels.unique(), rows), source.normalisation)
    assert held is not None
    labels = torch.tensor(source.some) if source.some else held.train.labels.unique()
    place = kept / f"{form.name}-{name.replace(' ', '_').replace(',', '')}-seed{seed}"
    torch.manual_seed(seed)
    network = vgg(source.widths, len(labels))
    if (place / "accuracy.json").is_file():
        load_weights(network, place / "source.safetensors")
        return network.eval(), read_json(place / "accuracy.json")["accuracy"]
    _train(network, only(held.train, labels, shuffled(held.train.labels, seed)[: source.images]), source.epochs, seed)
    right = _right(network.eval(), only(held.test, labels, shuffled(held.test.labels, seed)), HALF)
    place.mkdir(parents=True, exist_ok=True)
    save_weights(network, place / "source.safetensors")
    write_json(place / "accuracy.json", {"accuracy": right})
    return network, right


def _train(network: nn.Module, data: LabelledImages, epochs: int, seed: int) -> None:
    """From scratch, in place; a tenth of the images is val."""
    if not epochs:
        return
    val, batch = max(1, len(data) // 10), 64 if len(data) >= 2000 else 32
    parts = [LabelledImages(data.images[some], data.labels[some]) for some in (slice(val, None), slice(val))]
    config = SourceConfig(epochs=epochs, augment="crop", batch_size=batch)
    runtime = start(RuntimeConfig(device="cpu", precision="fp32", threads=1), 0)
    train_from_scratch(network, Preprocess(*HALF), parts[0], parts[1], config, runtime, seed)


def only(data: LabelledImages, labels: Tensor, order: Tensor) -> LabelledImages:
    """The images of some classes in this order, with new labels."""
    new = torch.full((int(data.labels.max()) + 1,), -1)
    new[labels] = torch.arange(len(labels))
    rows = order[new[data.labels[order]] >= 0]
    return LabelledImages(data.images[rows], new[data.labels[rows]])


def _right(network: nn.Module, test: LabelledImages, normalisation: tuple[Any, Any]) -> float:
    some = LabelledImages(test.images[:SCORED], test.labels[:SCORED])
    return accuracy(predict(network, some, Preprocess(*normalisation)), some.labels)


def problem_images(form: Form, problem: Problem, seed: int) -> tuple[LabelledImages, LabelledImages, LabelledImages]:
    """Train, val (a quarter of the few images) and test (at most 1,000 images)."""
    held = form.sets(problem.data)
    labels = torch.tensor([held.classes.index(c) for c in problem.some] or range(len(held.classes)))
    few = only(held.train, labels, shuffled(held.train.labels, seed).flip(0))
    val, train = list[int](), list[int]()
    for label in range(len(labels)):
        own = torch.nonzero(few.labels == label)[: problem.per_class, 0].tolist()
        val, train = val + own[: len(own) // 4], train + own[len(own) // 4 :]
    test = only(held.test, labels, shuffled(held.test.labels, seed))

    def of(data: LabelledImages, rows: Sequence[int]) -> LabelledImages:
        chosen = torch.tensor(list(rows))
        return LabelledImages(_changed(data.images[chosen], problem.change), data.labels[chosen])

    return of(few, train), of(few, val), of(test, range(min(1000, len(test))))


def _changed(images: Tensor, change: str) -> Tensor:
    if change == "turned":
        return torch.rot90(images, 1, (1, 2)).contiguous()
    if change == "mirrored":
        return images.flip(2)
    return 255 - images if change == "inverted" else images
