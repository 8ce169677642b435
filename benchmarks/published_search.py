"""SeaM's search written the way its published code is written, as the yardstick of speed; not used by the pipeline.

Per-image augmentation in a data loader, one score tensor a layer, Adam over the list of them, the
density in the graph by concatenation, an evaluation of the whole split each round, denormals kept.
Source: the authors' repository, in its own words here.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from seam.data.images import LabelledImages
from seam.masks.masks import maskable
from seam.networks.head import TargetHead


class Binarize(torch.autograd.Function):
    """Score > 0; the gradient passes, clamped to [-1, 1]."""

    @staticmethod
    def forward(_context: Any, scores: Tensor) -> Tensor:
        """0 or 1."""
        return (scores > 0).float()

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> Tensor:
        """Straight through."""
        return F.hardtanh(gradients[0])


class Augmented(Dataset[tuple[Tensor, int]]):
    """Images one by one: random crop with padding (and a flip), as PIL images, then normalised."""

    def __init__(self, data: LabelledImages, mean: tuple[float, ...], std: tuple[float, ...], augment: str) -> None:
        self._data, self._augment = data, augment
        self._mean, self._std = torch.tensor(mean).view(3, 1, 1), torch.tensor(std).view(3, 1, 1)

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        """One image and its label."""
        array = self._data.images[i].numpy()
        image = Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array).convert("RGB")
        if self._augment != "none":
            width, height = image.size
            pad = height // 8
            padded = Image.new("RGB", (width + 2 * pad, height + 2 * pad))
            padded.paste(image, (pad, pad))
            x, y = random.randint(0, 2 * pad), random.randint(0, 2 * pad)
            image = padded.crop((x, y, x + width, y + height))
            if self._augment == "crop_flip" and random.random() < 0.5:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.asarray(image, dtype=np.float32) / 255).permute(2, 0, 1)
        return (pixels - self._mean) / self._std, int(self._data.labels[i])


class PublishedSearch:
    """One search, a round at a time."""

    def __init__(
        self, network: nn.Module, num_source_classes: int, num_classes: int, loaders: Mapping[str, DataLoader[Any]]
    ) -> None:
        self._network = network.eval().requires_grad_(False)
        self._loaders = loaders
        self._weights = dict(maskable(network))
        self._scores = {name: nn.Parameter(torch.ones_like(p)) for name, p in self._weights.items()}
        self._head = TargetHead(num_source_classes, num_classes)
        self._head_only = torch.optim.Adam(self._head.parameters(), lr=0.1)
        self._joint = torch.optim.Adam(
            [{"params": list(self._scores.values()), "lr": 0.05}, {"params": list(self._head.parameters()), "lr": 0.1}],
            foreach=False,
            fused=False,
        )
        self.rounds = 0

    def round(self) -> tuple[float, float]:
        """One round; returns density and accuracy."""
        optimizer = self._head_only if self.rounds % 5 == 0 else self._joint
        for images, labels in self._loaders["train"]:
            for group in (self._head_only, self._joint):
                group.zero_grad()
            logits, density = self._forward(images)
            loss = F.cross_entropy(logits, labels) + density
            loss.backward()
            optimizer.step()
            _ = (logits.argmax(1) == labels).sum().item(), loss.item(), density.item()
        self.rounds += 1
        correct = count = 0
        with torch.no_grad():
            for images, labels in self._loaders["eval"]:
                logits, density = self._forward(images)
                correct += int((logits.argmax(1) == labels).sum().item())
                count += len(labels)
        return float(density), correct / count

    def _forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        masks = {name: Binarize.apply(s) for name, s in self._scores.items()}
        logits = functional_call(self._network, {name: p * masks[name] for name, p in self._weights.items()}, (images,))
        density = torch.cat([m.reshape(-1) for m in masks.values()]).mean()
        return self._head(logits), density


def loaders(
    train: LabelledImages,
    evaluated: LabelledImages,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    augment: str,
    workers: int,
) -> dict[str, DataLoader[Any]]:
    """The published data loaders: batch 64, workers started anew every epoch; `augment` as in `SearchConfig`."""
    return {
        "train": DataLoader(Augmented(train, mean, std, augment), batch_size=64, shuffle=True, num_workers=workers),
        "eval": DataLoader(Augmented(evaluated, mean, std, "none"), batch_size=64, num_workers=workers),
    }
