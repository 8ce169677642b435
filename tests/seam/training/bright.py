"""Two classes that brightness tells apart, and a network small enough to learn them at once."""

import torch
from torch import nn

from seam.configs.runtime import RuntimeConfig
from seam.data.images import LabelledImages
from seam.runtime import start

RUNTIME = start(RuntimeConfig(device="cpu", precision="fp32", threads=1), pixels=64)


def two_shades(count=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    images = torch.randint(0, 100, (count, 8, 8, 1), generator=generator) + 100 * labels[:, None, None, None]
    return LabelledImages(images.to(torch.uint8), labels)


def of_one_shade(label, value, count=20):
    return LabelledImages(torch.full((count, 8, 8, 1), value, dtype=torch.uint8), torch.full((count,), label))


def small_network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
