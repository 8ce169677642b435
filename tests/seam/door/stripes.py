"""Images of stripes, a direction a class, and a small residual network that tells them apart; made in a second."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = ("boot", "coat", "hat", "shoe")
SIDE, MEAN, STD = 16, 0.5, 0.25


class Net(nn.Module):
    """Sixty-four channels, one residual block that may go whole."""

    def __init__(self, num_classes: int = len(CLASSES)) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)
        self.a, self.b = nn.Conv2d(32, 64, 3, padding=1), nn.Conv2d(64, 32, 3, padding=1)
        self.down = nn.Conv2d(32, 64, 3, stride=2, padding=1)
        self.linear = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu(x + self.b(F.relu(self.a(x))))
        logits: Tensor = self.linear(F.relu(self.down(x)).mean((2, 3)))
        return logits


def pixels(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 NHWC, and labels."""
    rng, labels = np.random.default_rng(seed), np.arange(count) % len(CLASSES)
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    bases = np.stack([((a // 2) % 2) * 120 + 60 for a in (x, y, x + y, x - y)])
    noise = rng.normal(0, 25, (count, SIDE, SIDE, 3))
    return np.clip(bases[labels][..., None] + noise, 0, 255).astype(np.uint8), labels


def floats(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """The same as the network takes them."""
    images, labels = pixels(count, seed)
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - MEAN) / STD, torch.from_numpy(labels)


@cache
def _trained() -> dict[str, Tensor]:
    torch.manual_seed(0)
    network = Net()
    return fitted(network, torch.optim.Adam(network.parameters(), 3e-3), 60)


def fitted(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> dict[str, Tensor]:
    """What a network's state is after so many steps on a hundred and sixty of the images."""
    network.train()
    images, labels = floats(160, 0)
    for step in range(steps):
        chosen = torch.arange(32) + 32 * (step % 5)
        loss = F.cross_entropy(network(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval().state_dict()


def trained() -> Net:
    """A copy of its own."""
    network = Net()
    network.load_state_dict({k: v.clone() for k, v in _trained().items()})
    return network.eval()


def accuracy(network: nn.Module, wanted: list[int], seed: int = 9) -> float:
    """On new images of some of the classes, labelled in the order of `wanted`."""
    images, labels = floats(80, seed)
    some = torch.isin(labels, torch.tensor(wanted))
    with torch.no_grad():
        found = network(images[some]).argmax(1)
    return float((found == torch.tensor([wanted.index(i) for i in labels[some].tolist()])).float().mean())


def folder(root: Path, train: int = 64, val: int = 24) -> Path:
    """An image folder with train/ and val/; returns train/."""
    for split, count, seed in (("train", train, 0), ("val", val, 1)):
        for i, (image, label) in enumerate(zip(*pixels(count, seed), strict=True)):
            place = root / split / CLASSES[label]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place / f"{i:03}.png")
    return root / "train"
