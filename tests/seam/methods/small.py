"""A network, images and settings small enough to transfer by every method in a test."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seam.configs.methods import RemosConfig, TransferConfig
from seam.configs.runtime import RuntimeConfig
from seam.configs.search import TransferSearchConfig
from seam.configs.training import StudentTraining
from seam.data.images import LabelledImages
from seam.methods.catalogue import find
from seam.methods.protocol import StartingPoint, Target, Watch
from seam.methods.transfer import implementation
from seam.runtime import start

RUNTIME = start(RuntimeConfig(device="cpu", precision="fp32", threads=1), pixels=64)
SEARCH = TransferSearchConfig(rounds=2, batch_size=30, augment="none")
TRAINING = StudentTraining(epochs=4, lr=0.05, lr_head=0.1, batch_size=16, augment="crop")
CONFIG = TransferConfig(
    removal=0.5,
    search=SEARCH,
    remos=RemosConfig(ratio=0.2),
    training=TRAINING,
    retrain=replace(TRAINING, lr=0.1, momentum=0.9),
)
CONVOLUTIONS = 12 * 3 * 9 + 12 + 12 * 12 * 9 + 16 * 12 * 9 + 16 * 4 * 9
"""Weights and biases of the convolutions of `Small`."""


class Small(nn.Module):
    """Two stages of two convolutions each, one grouped, one with a bias.

    BatchNorm; a linear classifier for 6 classes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 12, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(12)
        self.conv2 = nn.Conv2d(12, 12, 3, padding=1, bias=False)
        self.conv3 = nn.Conv2d(12, 16, 3, padding=1, stride=2, bias=False)
        self.bn3 = nn.BatchNorm2d(16)
        self.conv4 = nn.Conv2d(16, 16, 3, padding=1, groups=4, bias=False)
        self.fc = nn.Linear(64, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self.bn1(self.conv1(x)).relu()).relu()
        x = self.conv4(self.bn3(self.conv3(x)).relu()).relu()
        return self.fc(F.adaptive_avg_pool2d(x, 2).flatten(1))


class Squeezed(nn.Sequential):
    """Ends as SqueezeNet does."""

    def __init__(self) -> None:
        features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 12, 3, padding=1), nn.ReLU()
        )
        super().__init__(
            features, nn.Sequential(nn.Dropout(), nn.Conv2d(12, 6, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)), nn.Flatten()
        )


def data(count: int, seed: int, classes: int) -> LabelledImages:
    """A bright corner (or edge) says the class; the rest is noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    pixels = torch.randint(0, 100, (count, 8, 8, 3), generator=generator)
    for label, (rows, columns) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)][:classes]):
        pixels[labels == label, 4 * rows : 4 * rows + 4, 4 * columns : 4 * columns + 4] += 120
    return LabelledImages(pixels.to(torch.uint8), labels)


def begin(method: str, source: nn.Module, target: Target, config: TransferConfig, seed: int = 0) -> StartingPoint:
    """Where a method of that name starts."""
    return implementation(find(method))(source, target, config, RUNTIME, seed, Watch())
