"""Images made on the spot, a source trained on them, and searches in it: for checks that bring no data along."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from seam.configs.networks import SourceConfig
from seam.configs.search import SearchConfig
from seam.data.images import LabelledImages
from seam.data.problems import TargetProblem
from seam.networks.build import build
from seam.networks.head import SourceOnProblem
from seam.networks.predict import accuracy, predict
from seam.networks.source import Preprocess
from seam.runtime import Runtime
from seam.search.mask_search import MaskSearch
from seam.search.problem import SearchProblem
from seam.training.finetune import train_from_scratch

CLASSES = tuple(f"class-{i}" for i in range(10))
_PREPROCESS = ((0.5,) * 3, (0.25,) * 3)


def made_images(count: int, side: int, seed: int) -> LabelledImages:
    """`count` images of ten classes: a smooth pattern a class, shifted, scaled, mixed with another's and noisy."""
    patterns = torch.rand(10, 3, 8, 8, generator=torch.Generator().manual_seed(7))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 10
    others = torch.randint(0, 10, (count,), generator=generator)
    share = 0.45 * torch.rand(count, 1, 1, 1, generator=generator)
    mixed = (1 - share) * patterns[labels] + share * patterns[others]
    grown = F.interpolate(mixed, size=(side, side), mode="bilinear", align_corners=False)
    rolls = torch.randint(0, side // 4, (count,), generator=generator).tolist()
    moved = torch.stack([image.roll(roll, dims=2) for image, roll in zip(grown, rolls, strict=True)])
    noisy = moved + 0.25 * torch.randn(moved.shape, generator=generator)
    return LabelledImages((noisy.clamp(0, 1) * 255).byte().permute(0, 2, 3, 1).contiguous(), labels)


def problem_of(index: int, data: LabelledImages, seed: int) -> LabelledImages:
    """The images of one class against as many of the rest, with target labels."""
    problem = TargetProblem.of(CLASSES[index], [CLASSES[index]], CLASSES)
    labels = data.labels.numpy()
    chosen = problem.select(labels, np.arange(len(labels)), seed)
    return LabelledImages(data.images[chosen], torch.from_numpy(problem.target_labels(labels[chosen])))


class Lab:
    """A trained source on one device, and searches in it."""

    def __init__(self, network: nn.Module, train: LabelledImages, val: LabelledImages, runtime: Runtime) -> None:
        """Take a trained network, and images of all classes."""
        self.network, self.train, self.val, self.runtime = network, train, val, runtime
        self.preprocess = Preprocess(*_PREPROCESS).to(runtime.device)

    def search(self, index: int, config: SearchConfig) -> MaskSearch:
        """The search of class `index` against the rest, before its first round."""
        train, val = problem_of(index, self.train, 0), problem_of(index, self.val, 0)
        original = SourceOnProblem(self.network, (index,), len(CLASSES)).to(self.runtime.device)
        here = val.to(self.runtime.device)
        floor = accuracy(predict(original, here, self.preprocess), here.labels)
        problem = SearchProblem(self.network, self.preprocess, train, val, 2, floor)
        return MaskSearch(problem, config, self.runtime, 0)


def trained_source(train: LabelledImages, val: LabelledImages, epochs: int, runtime: Runtime) -> nn.Module:
    """A ResNet20 for the ten classes."""
    torch.manual_seed(0)
    network = build("resnet20", len(CLASSES))
    config = SourceConfig(epochs=epochs, augment="crop")
    train_from_scratch(network, Preprocess(*_PREPROCESS), train, val, config, runtime, 0)
    return network.cpu().eval()
