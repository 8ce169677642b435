"""Epochs of steps: the mask, the gradients, the move."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from seam.masks.scores import refresh
from seam.networks.norms import use_batch_statistics
from seam.search.dynamics import Dynamics
from seam.search.images import Epochs
from seam.search.objective import Objective


@dataclass(eq=False)
class Descent:
    """What moves in a search, or in several that are carried along together."""

    objective: Objective
    dynamics: Dynamics
    images: Epochs
    batch_statistics: bool
    """Whether BatchNorm normalises by the batch while it moves."""
    _step: int = 0
    _total: Tensor = field(default_factory=lambda: torch.zeros(()))

    def begin(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Start epoch 0, 1, ... and return its batches, each of which is then a `step`."""
        if number == 0:
            self.dynamics.start()
        self._step = number * self.images.steps
        self._total = torch.zeros((), device=self.objective.scored.scores.device)
        use_batch_statistics(self.objective.network, self.batch_statistics)
        return self.images.epoch(number)

    def step(self, images: Tensor, labels: Tensor) -> None:
        """One step on a batch; the loss is not waited for."""
        self.dynamics.before_step(self._step)
        refresh(self.objective.scored)
        self._total = self._total + self.objective.descend(images, labels)
        self.dynamics.after_backward(self._step)
        self._step += 1

    @property
    def loss(self) -> Float[Tensor, "*stack"]:
        """Mean loss of the epoch's steps, not waited for."""
        return self._total.double() / self.images.steps

    def settle(self) -> None:
        """Make the candidate that the epoch ended with: its mask, and BatchNorm with the statistics it kept."""
        self.dynamics.end_round(self._step)
        refresh(self.objective.scored)
        use_batch_statistics(self.objective.network, False)
