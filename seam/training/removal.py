"""What becomes of removed weights while the rest learns: gone from the start, or taken out one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from seam.masks.masks import Masks, apply_masks

RAMP = 0.6
"""Share of the steps in which weights leave."""
_EVERY = 8
"""Steps between two choices of what leaves; it moves little in so many."""


@runtime_checkable
class Removal(Protocol):
    """Which weights of a network are zero along its training. It has no state but the network's zeros."""

    def before_step(self, step: int, done: float) -> None:
        """Choose what is zero.

        Args:
            step: of the epoch, from 0.
            done: share of the training's steps before it, in [0, 1]; called after every epoch as well.
        """
        ...

    def after_step(self) -> None:
        """Make the removed weights zero again."""
        ...

    def complete(self, done: float) -> bool:
        """Whether all that is to go is gone after this share of the steps."""
        ...


class Held:
    """What masks removed stays removed."""

    def __init__(self, network: nn.Module, masks: Masks) -> None:
        """Take the network, on the masks' device, and its masks."""
        self._network, self._masks = network, masks

    def before_step(self, step: int, done: float) -> None:
        """Nothing."""

    def after_step(self) -> None:
        """Make the removed weights zero again."""
        apply_masks(self._network, self._masks)

    def complete(self, done: float) -> bool:
        """From the start."""
        return True


class Gradual:
    """The smallest weights of each layer leave, fast at first, until as many are left as masks keep there.

    The number that is kept falls along a cubic curve in the first `RAMP` of the steps; what has left
    stays away.

    Source: M. Zhu, S. Gupta, "To Prune, or Not to Prune", 2017. *Differs*: how many weights each layer
    keeps is given by a search.
    """

    def __init__(self, network: nn.Module, masks: Masks, kept: Mapping[str, int]) -> None:
        """Take the network and what is known of its weights.

        Args:
            network: it is changed in place.
            masks: weights that are gone, made zero here, by name; on the network's device.
            kept: how many each of its tensors of weights keeps in the end, by name.
        """
        parameters = dict(network.named_parameters())
        self._network = network
        self._weights = {name: parameters[name] for name in kept}
        self._first = {
            name: int(masks[name].sum()) if name in masks else weight.numel() for name, weight in self._weights.items()
        }
        self._last = {name: min(kept[name], first) for name, first in self._first.items()}
        self._masks: dict[str, Tensor] = dict(masks)
        self._ended = False
        self.after_step()

    @torch.no_grad()
    def before_step(self, step: int, done: float) -> None:
        """Let the smallest weights go, every few steps."""
        if self._ended or step % _EVERY:
            return
        self._ended = self.complete(done)
        self._masks = self._masks | {name: self._largest(name, done) for name in self._weights}
        self.after_step()

    def after_step(self) -> None:
        """Make what has left zero again."""
        apply_masks(self._network, self._masks)

    def complete(self, done: float) -> bool:
        """After the first `RAMP` of the steps."""
        return done >= RAMP

    def _largest(self, name: str, done: float) -> Tensor:
        weight, first, last = self._weights[name].detach(), self._first[name], self._last[name]
        number = round(last + (first - last) * (1 - min(1.0, done / RAMP)) ** 3)
        kept = torch.zeros(weight.numel(), dtype=torch.bool, device=weight.device)
        kept[weight.abs().flatten().argsort(descending=True, stable=True)[:number]] = True
        return kept.view_as(weight)
