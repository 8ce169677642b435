"""Residual networks for small images.

Source: He et al. 2016, section 4.2 (6n + 2 layers, 16/32/64 channels). Shortcuts where shapes
change are 1x1 convolutions (option B), or have no weights (option A: every second pixel, zeros for
the new channels).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


def _conv3x3(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)


def _projection(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out))


class PaddedShortcut(nn.Module):
    """Every `stride`-th row and column; the new channels are zeros, half of them before the old ones and half after."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (channels_out - channels_in) // 2
        self.after = channels_out - channels_in - self.before

    def forward(self, x: Float[Tensor, "batch cin h w"]) -> Float[Tensor, "batch cout h2 w2"]:
        """The shortcut, without weights."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, padded: bool = False) -> None:
        super().__init__()
        self.conv1 = _conv3x3(channels_in, channels_out, stride)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = _conv3x3(channels_out, channels_out)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels_in != channels_out:
            self.downsample = (
                PaddedShortcut(channels_in, channels_out, stride)
                if padded
                else _projection(channels_in, channels_out, stride)
            )

    def forward(self, x: Float[Tensor, "batch cin h w"]) -> Float[Tensor, "batch cout h2 w2"]:
        """ReLU of the two convolutions plus the shortcut."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += shortcut
        activated: Tensor = self.relu(out)
        return activated


class ResNetCifar(nn.Module):
    """ResNet20/32/44/56: a 3x3 stem and three stages of (depth - 2) / 6 blocks; any image side of 8 or more."""

    def __init__(self, depth: int, num_classes: int = 10, padded: bool = False, early: bool = False) -> None:
        """Take the number of layers and of logits.

        Args:
            depth: 6n + 2.
            num_classes: number of logits.
            padded: shortcuts without weights.
            early: the first stage halves the image too, which saves seven tenths of the multiply-adds.
        """
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = _conv3x3(3, 16)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = self._stage(16, 16, blocks, 2 if early else 1, padded)
        self.layer2 = self._stage(16, 32, blocks, 2, padded)
        self.layer3 = self._stage(32, 64, blocks, 2, padded)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, num_classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    @staticmethod
    def _stage(channels_in: int, channels_out: int, blocks: int, stride: int, padded: bool) -> nn.Sequential:
        first = BasicBlock(channels_in, channels_out, stride, padded)
        return nn.Sequential(first, *(BasicBlock(channels_out, channels_out, 1) for _ in range(blocks - 1)))

    def forward(self, x: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch classes"]:
        """Logits."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return logits
