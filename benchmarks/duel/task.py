"""What an arm gets and what it gives: the interface of the duel."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from duel.budget import Clock, smallest
from seam.data.images import LabelledImages
from seam.data.problems import TargetProblem
from seam.errors import SeamError
from seam.measures.macs import count
from seam.networks.head import Reengineered, TargetHead
from seam.networks.source import Source
from seam.runtime import Runtime
from seam.training.loop import Epoch

Unit = Literal["ms", "macs", "density"]
UNITS: Mapping[Unit, str] = {
    "ms": "the original's milliseconds",
    "macs": "the original's multiply-adds",
    "density": "the weights",
}
"""In words: what a budget is a share of."""


class NoLayoutError(SeamError):
    """An arm has no network within the budget."""


@dataclass(frozen=True)
class Budget:
    """What a network may cost, as a share of the original's."""

    unit: Unit
    """`ms`: CPU milliseconds of ONNX Runtime, batch 16, one thread; `macs`: multiply-adds;
    `density`: weights that are not zero, for arms over single weights."""
    share: float

    @property
    def label(self) -> str:
        """In names of jobs and cards, for example ms30."""
        return f"{self.unit}{self.percent}"

    @property
    def percent(self) -> int:
        """The share."""
        return round(100 * self.share)

    @classmethod
    def of(cls, label: str) -> Budget:
        """From its label."""
        units: tuple[Unit, ...] = ("ms", "macs", "density")
        unit = next(u for u in units if label.rstrip("0123456789") == u)
        return cls(unit, int(label.removeprefix(unit)) / 100)


@dataclass(frozen=True)
class Setting:
    """How one training is done: chosen on val, from the same list for every arm."""

    loss: str
    """A name in `duel.train.LOSSES`."""
    rate: float
    """SGD's peak rate, of network and head."""


@dataclass(frozen=True)
class Task:
    """One problem with one seed at one budget, ready for an arm. An arm changes nothing in it."""

    target: TargetProblem
    source: Source
    head: TargetHead
    """Fitted to the source's logits of `train`."""
    train: LabelledImages
    """One pass."""
    spare: LabelledImages | None
    """Further negatives of a binary problem, from which every pass draws."""
    val: LabelledImages
    budget: Budget
    passes: int
    """Over `train`, at most, search and gradients included."""
    runtime: Runtime
    seed: int
    clock: Clock
    memory: Path | None = None
    """Where what is found once for all trainings of an arm is kept."""

    def original(self) -> Reengineered:
        """A copy of the source with its fitted head, eval mode."""
        return Reengineered(copy.deepcopy(self.source.network), copy.deepcopy(self.head)).eval()

    def teacher(self) -> nn.Module:
        """A copy of the source, for what moves it to the device that is trained on; the source itself stays."""
        return copy.deepcopy(self.source.network)

    def example(self, images: int = 2) -> Tensor:
        """Normalised training images."""
        return self.source.example(self.train.images[:images])

    def spent(self, model: nn.Module) -> float:
        """What a network costs, as a share of the original's cost, in the budget's unit.

        Args:
            model: normalised images to target logits; removed channels may be zeros or gone.
        """
        if self.budget.unit == "ms":
            return self.clock.share(model)
        if self.budget.unit == "density":
            network = model.network if isinstance(model, Reengineered) else model
            return (
                count(network, self.example()).params_nonzero / count(self.source.network, self.example()).params_total
            )
        return macs_of(model, self.example()) / macs_of(self.original(), self.example())

    def fits(self, model: nn.Module) -> bool:
        """Whether a network is within the budget."""
        return self.spent(model) <= self.budget.share


def macs_of(model: nn.Module, example: Tensor) -> int:
    """Multiply-adds of one image, of what is left when all that has no effect is taken out."""
    return count(smallest(model, example), example).macs_nonzero


@dataclass
class Made:
    """What an arm has made."""

    model: nn.Module
    """Trained; normalised images to target logits; within the budget."""
    epochs: list[Epoch]
    """Of its last training, epoch 0 first."""
    passes: float
    """Over the training images, in all."""
    val_accuracy: float | None = None
    """Of `model`, where it is not that of the best of `epochs`."""
    facts: dict[str, Any] = field(default_factory=dict)
    """JSON: widths, steps, the library's version, what was tried."""


ArmFunction = Callable[[Task, Setting], Made]


@dataclass(frozen=True)
class Arm:
    """One of those that are compared."""

    label: str
    """In the tables."""
    make: ArmFunction
    kind: Literal["ours", "rival", "bound"]
    """`bound`: no rival, a floor or a ceiling."""
    needs: tuple[str, ...] = ()
    """Modules that must be importable."""
    losses: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {"own": ("cross-entropy", "logits"), "ours": ("features",)}
    )
    """Name of a group -> the losses that its best is taken from, by val."""
    within_budget: bool = True
    """False: it is not asked to keep to the budget (the unpruned network)."""
    weights: bool = False
    """Over single weights, for budgets of density; otherwise whole channels, for all others."""

    def keeps(self, budget: Budget) -> bool:
        """Whether it is an arm for such a budget."""
        return not self.within_budget or self.weights == (budget.unit == "density")


def first_line(error: BaseException) -> str:
    """What went wrong, in one line."""
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, SeamError) and text else f"{type(error).__name__}: {text}"


def seeded(seed: int) -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


__all__ = ["Arm", "Budget", "Made", "NoLayoutError", "Setting", "Task", "Unit", "first_line", "macs_of"]
