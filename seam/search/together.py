"""Several problems' mask searches at once.

Same frozen source, other masks, one pass through the network for all of them.

A small network leaves a GPU idle between two of its kernels; stacked, K problems need hardly more
kernels than one. Scores, heads, optimizers, images and evaluations are stacked likewise. Each
search's rounds, choice and checkpoint stay its own, and its result is the one it finds alone, but
for rounding.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from seam.checkpoint import Pacer
from seam.errors import SearchError
from seam.masks.scores import densities_of
from seam.networks.stacked import ready_for_stacks
from seam.search.descent import Descent
from seam.search.dynamics import dynamics_of
from seam.search.images import StackedImages
from seam.search.mask_search import MaskSearch
from seam.search.result import Round
from seam.search.stacked import StackedObjective, classes_of

_HEADROOM = 0.7
"""Share of the free memory that a group may take."""
_VAL_BATCHES = 2
"""Batches of the training that one of an evaluation is as large as; it keeps nothing for a backward pass."""


def search_rounds_together(
    searches: Mapping[str, MaskSearch],
    checkpoints: Mapping[str, Path],
    on_round: Callable[[str, Round], None] = lambda name, found: None,
) -> None:
    """All rounds of several searches, each continued from its checkpoint, where its state is left at the end.

    `MaskSearch.run` with that checkpoint then has no rounds left to do, and gives the result.

    Args:
        searches: by name; over copies of one source, with one config and as many training images
            each, on one device. Those of as many classes go together.
        checkpoints: a file for each name.
        on_round: called with the name after every new round.

    Raises:
        SearchError: the searches do not fit together, the network cannot be run for several
            problems at once, or a loss is not finite.
    """
    _check_alike(searches)
    for name, search in searches.items():
        search.loop.resume(checkpoints[name])
    pacer = Pacer()
    carried, together = dict[str, MaskSearch](), Together([])
    while alike := _next_alike(searches):
        if alike != carried:
            together.hand_back()
            carried, together = alike, Together(list(alike.values()))
        together.next_round()
        ended = {name: s for name, s in alike.items() if s.loop.ended()}
        if due := alike if pacer.due() else ended:
            together.hand_back()
        for name, search in due.items():
            search.loop.save(checkpoints[name])
        for name, search in alike.items():
            on_round(name, search.loop.rounds[-1])


def _next_alike(searches: Mapping[str, MaskSearch]) -> dict[str, MaskSearch]:
    """Of the searches that have not ended those that go together: of as many classes, and at the same round."""
    active = {name: s for name, s in searches.items() if not s.loop.ended()}
    kind = {name: (classes_of(s.objective), len(s.loop.rounds)) for name, s in active.items()}
    return {name: s for name, s in active.items() if kind[name] == min(kind.values())}


def how_many_fit(search: MaskSearch) -> int:
    """How many searches as large as this one fit into what memory is free, itself included; at least 1."""
    others = int(_HEADROOM * _free_bytes(search.loop.runtime.device) / bytes_needed(search))
    return max(1, others + 1)  # itself is there already


def bytes_needed(search: MaskSearch) -> int:
    """An upper estimate of the memory that one more search like this one takes, in bytes.

    Its images; weights, those under the mask, scores, their moments and gradients (twice: alone and
    stacked); and twice the activations that one step keeps for its backward pass (they and their
    gradients), found by a forward pass.
    """
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    objective, images = search.objective, search.loop.images
    batch = images.preprocess(images.train.images[: images.batch_size])
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), objective.runtime.autocast():
        objective.network_logits(batch)
    return 2 * sum(kept.values()) + 14 * objective.scored.effective.weights.nbytes + images.nbytes


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _check_alike(searches: Mapping[str, MaskSearch]) -> None:
    sizes = {
        name: (len(s.loop.images.train), s.loop.images.batch_size, len(s.objective.scored.effective))
        for name, s in searches.items()
    }
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise SearchError(
            f"searches together: expected equally many training images, batch sizes and weights, got {listed}."
        )
    if len({s.loop.config for s in searches.values()}) > 1:
        raise SearchError("searches together: expected one config for all, got several.")
    if any(s.one_pass for s in searches.values()):
        raise SearchError("searches together: expected rounds in which scores move, got searches of one pass.")


class Together:
    """Searches at the same round, carried along from there."""

    def __init__(self, searches: Sequence[MaskSearch]) -> None:
        """Take any number; of several, scores and all that learns become rows of a stack."""
        self._loops = [s.loop for s in searches]
        self._stack = _Stack(searches) if len(searches) > 1 else None

    def next_round(self) -> None:
        """One epoch of steps of each search, and their evaluations."""
        if self._stack is not None:
            self._stack.next_round()
            return
        for loop in self._loops:
            loop.next_round()

    def hand_back(self) -> None:
        """Bring each search up to date; before that only its rounds and what it has learnt are."""
        if self._stack is not None:
            self._stack.hand_back()


class _Stack:
    """Two or more searches, and what moves in all of them at once."""

    def __init__(self, searches: Sequence[MaskSearch]) -> None:
        self._loops = loops = [s.loop for s in searches]
        first = loops[0]
        self._objective = StackedObjective([s.objective for s in searches])
        self._images = StackedImages([loop.images for loop in loops])
        costs = [s.costs for s in searches if s.costs is not None]
        dynamics = dynamics_of(first.config, self._objective, self._images, torch.stack(costs) if costs else None)
        if first.rounds:
            dynamics.restore(_joined([loop.dynamics.tensors() for loop in loops]))
        self._descent = Descent(self._objective, dynamics, self._images, first.config.batch_statistics)

    def next_round(self) -> None:
        """One epoch of steps of each search, and their evaluations."""
        started = time.perf_counter()
        with ready_for_stacks(self._objective.network):
            found = self._evaluated_round()
        seconds = (time.perf_counter() - started) / len(self._loops)
        for loop, of_search in zip(self._loops, found, strict=True):
            loop.note(*of_search, seconds)

    def _evaluated_round(self) -> list[tuple[float, float, float]]:
        """Of each search loss, density and accuracy on val."""
        for images, labels in self._descent.begin(len(self._loops[0].rounds)):
            self._descent.step(images, labels)
        losses = [loop.finite(loss) for loop, loss in zip(self._loops, self._descent.loss.tolist(), strict=True)]
        self._descent.settle()
        accuracies = self._objective.accuracies(self._images, _VAL_BATCHES * self._images.members[0].batch_size)
        densities = densities_of(self._objective.scored)
        return list(zip(losses, densities.tolist(), accuracies.tolist(), strict=True))

    def hand_back(self) -> None:
        """Give each search the state of its dynamics, which is all that it does not have anyway."""
        tensors = self._descent.dynamics.tensors()
        for i, loop in enumerate(self._loops):
            loop.dynamics.restore({name: t if _is_common(name) else t[i] for name, t in tensors.items()})


def _joined(tensors: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The state of several searches' dynamics as one."""
    first = tensors[0]
    return {name: t if _is_common(name) else torch.stack([own[name] for own in tensors]) for name, t in first.items()}


def _is_common(name: str) -> bool:
    """Whether an entry of a dynamics' state is the same for all searches at the same round."""
    return name == "kept" or name.endswith(".step")
