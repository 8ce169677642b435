"""The ResNet20 variant of karanchahal/distiller's CIFAR-100 weights.

A stem of 64 channels, no ReLU after the addition, 2x2 features.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        same = stride == 1 and inputs == outputs
        self.shortcut = (
            nn.Sequential()
            if same
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        total: Tensor = y + self.shortcut(x)
        return total


class WideStem(nn.Module):
    """Stages of 16, 32 and 64 channels with three blocks each."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(64, 16, 1)
        self.layer2 = _stage(16, 32, 2)
        self.layer3 = _stage(32, 64, 2)
        self.linear = nn.Linear(256, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised 32x32 images to logits."""
        x = F.relu(self.bn1(self.conv1(x)))
        for stage in (self.layer1, self.layer2, self.layer3):
            x = F.relu(stage(x))
        logits: Tensor = self.linear(F.avg_pool2d(x, 4).flatten(1))
        return logits


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(_Block(inputs, outputs, stride), _Block(outputs, outputs, 1), _Block(outputs, outputs, 1))


def widestem(num_classes: int) -> nn.Module:
    """The network, with fresh weights."""
    return WideStem(num_classes)
