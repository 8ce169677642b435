"""The problems of the duel: which network, which classes, and whether settings were chosen on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from seam.data.problem_sets import CIFAR100_SUPERCLASSES

DataName = Literal["cifar10", "cifar100", "flowers17"]
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class Network:
    """A trained network that problems start from."""

    architecture: str
    """As `seam.networks.build.build` takes it; a file is relative to the repository."""
    weights: str
    """A file in FOLDER/weights; or one that is trained on the spot and kept in build/duel/trained,
    if `trained`."""
    data: DataName
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    side: int = 32
    """Pixels of an image's side."""
    trained: bool = False


_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
NETWORKS: dict[str, Network] = {
    "ResNet20": Network("resnet20_a", "cifar10_resnet20_shortcutA.safetensors", "cifar10", **_IMAGENET),
    "ResNet20 with a wide stem": Network(
        "benchmarks/networks/cifar100_widestem.py:widestem",
        "cifar100_resnet20_widestem.safetensors",
        "cifar100",
        (0.5071, 0.4867, 0.4408),
        (0.2675, 0.2565, 0.2761),
    ),
    "VGG16 of half the width": Network(
        "benchmarks/networks/vgg16_half.py:vgg16_half", "cifar10_vgg16_half.safetensors", "cifar10", trained=True,
        **_IMAGENET,
    ),
    "SqueezeNet 1.1": Network(
        "torchvision:squeezenet1_1", "imagenet_squeezenet1_1.safetensors", "flowers17", side=224, trained=True,
        **_IMAGENET,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """Some classes of a network."""

    name: str
    network: str
    """A name in `NETWORKS`."""
    classes: tuple[str, ...]
    """One: that class against the rest."""
    val_share: float
    """Of the test images that become val; the source has seen none of them."""
    pilot: bool = False
    """Settings were chosen on it, so its row is not blind."""


def _superclasses(*names: str) -> tuple[str, ...]:
    return tuple(c for name in names for c in CIFAR100_SUPERCLASSES[name])


PROBLEMS: dict[str, Problem] = {
    p.name: p
    for p in (
        Problem("cifar10-cat", "ResNet20", ("cat",), 0.25, pilot=True),
        Problem("cifar10-animals", "ResNet20", ("cat", "dog", "deer", "horse", "frog"), 0.2, pilot=True),
        Problem("cifar10-truck", "ResNet20", ("truck",), 0.25),
        Problem("cifar10-bird", "ResNet20", ("bird",), 0.25),
        Problem("cifar10-others", "ResNet20", ("airplane", "automobile", "bird", "ship", "truck"), 0.2),
        Problem("cifar100-water", "ResNet20 with a wide stem", _superclasses("aquatic_mammals", "fish"), 0.3),
        Problem(
            "cifar100-plants", "ResNet20 with a wide stem", _superclasses("flowers", "fruit_and_vegetables"), 0.3
        ),
        Problem("vgg-others", "VGG16 of half the width", ("airplane", "automobile", "bird", "ship", "truck"), 0.2),
        Problem("flowers17-ten", "SqueezeNet 1.1", tuple(f"class_{i:02d}" for i in range(1, 11)), 0.3),
    )
}  # fmt: skip
DEFAULT = {"cifar10-others": "ms60", "cifar100-water": "ms40"}
"""What is run where nothing is said: a blind problem of each of two networks, at the lower of two
budgets, 40% and 60% of the time, at which the rivals' libraries have a layout."""
