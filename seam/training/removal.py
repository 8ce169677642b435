"""What becomes of removed weights while the rest learns: gone from the start, or taken out one by one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from seam.masks.masks import Masks, apply_masks, split_like

RAMP = 0.6
"""Share of the steps in which weights leave."""
_EVERY = 8
"""Steps between two choices of what leaves; it moves little in so many."""
_LEAST = 0.2
"""A tensor keeps at least so much of the share that the network keeps: one that loses all ends every path."""


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
    """The smallest weights of the whole network leave, fast at first, until a given number is left.

    The number that is kept falls along a cubic curve in the first `RAMP` of the steps; what has left
    stays away. No tensor loses all.

    Source: M. Zhu, S. Gupta, "To Prune, or Not to Prune", 2017. *Differs*: over all layers together.
    """

    def __init__(self, network: nn.Module, masks: Masks, names: Iterable[str], kept: int) -> None:
        """Take the network and what is known of its weights.

        Args:
            network: it is changed in place.
            masks: weights that are gone, made zero here, by name; on the network's device.
            names: of the tensors that weights leave from.
            kept: how many of these weights are kept in the end.
        """
        self._network = network
        self._weights = {name: network.get_parameter(name) for name in names}
        self._masks: dict[str, Tensor] = dict(masks)
        self._ended = False
        self.after_step()
        self._first = sum(int(weight.count_nonzero()) for weight in self._weights.values())
        self._last = min(kept, self._first)

    @torch.no_grad()
    def before_step(self, step: int, done: float) -> None:
        """Let the smallest weights go, every few steps."""
        if self._ended or step % _EVERY:
            return
        self._ended = self.complete(done)
        number = round(self._last + (self._first - self._last) * (1 - min(1.0, done / RAMP)) ** 3)
        least = _LEAST * number / sum(weight.numel() for weight in self._weights.values())
        sizes = torch.cat([_ranked(weight.detach().abs().flatten(), least) for weight in self._weights.values()])
        kept = torch.zeros(len(sizes), dtype=torch.bool, device=sizes.device)
        kept[sizes.argsort(descending=True, stable=True)[:number]] = True
        self._masks = self._masks | split_like(kept, self._weights)
        self.after_step()

    def after_step(self) -> None:
        """Make what has left zero again."""
        apply_masks(self._network, self._masks)

    def complete(self, done: float) -> bool:
        """After the first `RAMP` of the steps."""
        return done >= RAMP


def _ranked(sizes: Tensor, least: float) -> Tensor:
    """Sizes of a tensor's weights, the largest ones, a share of at least `least`, above those of any other."""
    first = sizes.topk(math.ceil(least * len(sizes))).indices
    return sizes.index_fill(0, first, math.inf)
