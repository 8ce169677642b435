"""What the methods of a transfer share.

What they are given, what they return, and how weights are ranked and removed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seam.configs.methods import TransferConfig
from seam.data.images import LabelledImages
from seam.errors import MaskError, SourceError
from seam.masks import masks as ranking
from seam.masks.masks import Masks, apply_masks, density
from seam.networks.student import Student, student
from seam.runtime import Runtime
from seam.search.result import Round
from seam.training.loop import Epoch


@dataclass(frozen=True)
class Target:
    """The data set a network is transferred to. The test split is no part of it: no method may see it."""

    train: LabelledImages
    """To learn from."""
    val: LabelledImages
    """To choose on."""
    preprocess: nn.Module
    """uint8 NHWC images to the source's input."""
    num_classes: int

    def to(self, device: torch.device) -> Target:
        """The same on `device`."""
        return Target(self.train.to(device), self.val.to(device), self.preprocess.to(device), self.num_classes)

    def example(self, device: torch.device) -> Float[Tensor, "1 channels height width"]:
        """One normalised training image, on `device`."""
        image: Tensor = self.preprocess.to(device)(self.train.images[:1].to(device))
        return image


@dataclass(frozen=True)
class StartingPoint:
    """What a method hands to fine-tuning."""

    student: Student
    """With a fresh classifier, on the CPU; the removed weights are zero."""
    masks: Masks | None
    """Of the convolutions, by name in `student.network`; None: nothing is removed."""
    rounds: tuple[Round, ...] = ()
    """Of the search, for a method that searches."""

    @property
    def removal(self) -> float:
        """Share of the masked weights that is removed."""
        return 0.0 if self.masks is None else 1 - density(self.masks)


@dataclass(frozen=True)
class Watch:
    """Where a long computation keeps its state, and whom it tells of its progress."""

    folder: Path | None = None
    """Of this transfer alone; a killed transfer continues from what lies there to the same result.
    None: nothing is kept."""
    on_round: Callable[[Round], None] | None = None
    """Called after every new round of a search."""
    on_epoch: Callable[[Epoch], None] | None = None
    """Called after every new epoch of training."""
    on_setting: Callable[[int], None] | None = None
    """Called before each of the settings that training is chosen from is tried, with its number from 0."""


SILENT = Watch()
MakeStudent = Callable[[nn.Module, Target, TransferConfig, Runtime, int, Watch], StartingPoint]
"""(source, target, config, runtime, seed, watch) -> where fine-tuning starts. The source, in eval
mode, is not changed.

The same seed gives the same result, and the same fresh classifier whatever the method.
"""


def fresh_student(source: nn.Module, target: Target, seed: int) -> Student:
    """The source with a fresh classifier for the target, on the CPU.

    Raises:
        SourceError: see `seam.networks.student.student`.
    """
    device = next(source.parameters()).device
    return student(source, target.example(device), target.num_classes, seed).cpu()


def convolutions(learner: Student) -> nn.Module:
    """A tree of modules with the student's convolutions under their names and nothing else.

    What a transfer's masks are over.

    The new classifier is left out, also where it is a convolution. The layers are the student's
    own, not copies.

    Raises:
        SourceError: there is none.
    """
    tree = nn.Module()
    layers = convolution_layers(learner)
    for name, layer in layers.items():
        *path, leaf = name.split(".")
        parent = tree
        for part in path:
            inside = dict(parent.named_children())
            if part not in inside:
                parent.add_module(part, nn.Module())
            parent = parent.get_submodule(part)
        parent.add_module(leaf, layer)
    return tree


def convolution_layers(learner: Student) -> dict[str, nn.Conv2d]:
    """The student's convolutions by name, without the new classifier.

    Raises:
        SourceError: there is none.
    """
    found = {
        name: m
        for name, m in learner.network.named_modules()
        if isinstance(m, nn.Conv2d) and name != learner.classifier
    }
    if not found:
        raise SourceError(
            f"{type(learner.network).__name__}: expected convolutions before the classifier, whose weights can be"
            " removed, got none."
        )
    return found


def remove(learner: Student, masks: Masks, rounds: tuple[Round, ...] = ()) -> StartingPoint:
    """Zero the removed weights of a student, in place."""
    apply_masks(learner.network, masks)
    return StartingPoint(learner.cpu(), masks, rounds)


def keep_highest(scores: Mapping[str, Tensor], removal: float) -> Masks:
    """The masks, on the CPU, that keep exactly round((1 - removal) * weights) of the highest scores.

    Of equal scores the first ones.

    Args:
        scores: parameter name -> a score for each of its weights; all tensors are ranked together.
        removal: share of the weights to remove, in [0, 1].

    Raises:
        MaskError: the removal is out of range, or a score is NaN.
    """
    if not 0 <= removal <= 1:
        raise MaskError(f"removal must be in [0, 1], got {removal}.")
    flat = torch.cat([s.detach().reshape(-1).cpu() for s in scores.values()])
    if flat.isnan().any():
        raise MaskError("expected a score for every weight, got NaN", hint="normalisation")
    return ranking.keep_highest(scores, flat, 1 - removal)
