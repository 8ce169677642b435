"""Several problems' mask searches at once.

Same frozen source, other masks, one pass through the network for all of them.

A small network leaves a GPU idle between two of its kernels; stacked, K problems need hardly more
kernels than one. Everything else (scores, head, schedule, evaluation, checkpoint) stays each
search's own, so that its result is the one it finds alone, but for rounding.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from seam.checkpoint import Pacer
from seam.errors import SearchError
from seam.networks.norms import norms_in_float32
from seam.search.mask_search import MaskSearch
from seam.search.objective import CrossEntropy
from seam.search.result import Round

_HEADROOM = 0.7
"""Share of the free memory that a group may take."""


def search_rounds_together(
    searches: Mapping[str, MaskSearch],
    checkpoints: Mapping[str, Path],
    on_round: Callable[[str, Round], None] = lambda name, found: None,
) -> None:
    """All rounds of several searches, each continued from its checkpoint, where its state is left at the end.

    `MaskSearch.run` with that checkpoint then has no rounds left to do, and gives the result.

    Args:
        searches: by name; over copies of one source, with as many training images and as large
            batches each, on one device.
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
    while active := {name: s for name, s in searches.items() if not s.loop.ended()}:
        joint_round(list(active.values()))
        ended = {name: s for name, s in active.items() if s.loop.ended()}
        for name, search in (active if pacer.due() else ended).items():
            search.loop.save(checkpoints[name])
        for name, search in active.items():
            on_round(name, search.loop.rounds[-1])


def how_many_fit(search: MaskSearch) -> int:
    """How many searches as large as this one fit into what memory is free, itself included; at least 1."""
    others = int(_HEADROOM * _free_bytes(search.loop.runtime.device) / bytes_needed(search))
    return max(1, others + 1)  # itself is there already


def bytes_needed(search: MaskSearch) -> int:
    """An upper estimate of the memory that one more search like this one takes, in bytes.

    Its images and weights, scores, their two moments, mask and gradient (twice: alone and stacked),
    and twice the activations that one step keeps for its backward pass (they and their gradients),
    found by a forward pass.
    """
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    objective, images = search.objective, search.loop.images
    batch = images.preprocess(images.train.images[: images.batch_size])
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), objective.runtime.autocast():
        objective.network_logits(batch)
    return 2 * sum(kept.values()) + 10 * objective.scored.effective.weights.nbytes + images.nbytes


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


def joint_round(searches: Sequence[MaskSearch]) -> None:
    """One epoch of steps of each search, and their evaluations."""
    loops = [s.loop for s in searches]
    epochs = [loop.begin_round() for loop in loops]
    stack = _Stack([s.objective for s in searches])
    with norms_in_float32(searches[0].objective.network):
        for batches in zip(*epochs, strict=True):
            for loop in loops:
                loop.before_step()
            losses = stack.descend(torch.stack([images for images, _ in batches]), [labels for _, labels in batches])
            for loop, loss in zip(loops, losses, strict=True):
                loop.after_backward(loss)
    stack.hand_back()
    for loop in loops:
        loop.end_round(share=1 / len(loops))


class _Stack:
    """What differs between the searches' networks, stacked along a first dimension, for one epoch."""

    def __init__(self, objectives: Sequence[CrossEntropy]) -> None:
        self._objectives = objectives
        self._network = objectives[0].network
        networks = [o.network for o in objectives]
        learning = [n for n, p in self._network.named_parameters() if p.requires_grad]
        self._norms = {n: [network.get_parameter(n) for network in networks] for n in learning}
        self._buffers = {
            n: torch.stack([network.get_buffer(n) for network in networks]) for n, _ in self._network.named_buffers()
        }
        self._forward = vmap(self._one, randomness="different")

    def _one(self, tensors: Mapping[str, Tensor], buffers: Mapping[str, Tensor], images: Tensor) -> Tensor:
        logits: Tensor = functional_call(self._network, {**tensors, **buffers}, (images,))
        return logits

    def descend(self, images: Tensor, labels: Sequence[Tensor]) -> list[Tensor]:
        """Leave every search its gradients, as a backward pass of its own would.

        Args:
            images: (searches, batch, 3, height, width), normalised.
            labels: of each search's batch.

        Returns:
            Each search's loss.
        """
        effective = [o.scored.effective for o in self._objectives]
        weights = torch.stack([own.flat for own in effective]).requires_grad_()
        norms = {n: torch.stack([p.detach() for p in own]).requires_grad_() for n, own in self._norms.items()}
        tensors = {**effective[0].split(weights), **norms}
        with self._objectives[0].runtime.autocast():
            logits = self._logits(tensors, images)
        losses = [o.loss(x, y) for o, x, y in zip(self._objectives, logits.unbind(), labels, strict=True)]
        torch.stack(losses).sum().backward()
        for own, gradient in zip(effective, _gradient(weights).unbind(), strict=True):
            own.gradient.copy_(gradient)
        for name, stacked in norms.items():
            for parameter, gradient in zip(self._norms[name], _gradient(stacked).unbind(), strict=True):
                parameter.grad = gradient
        return [loss.detach() for loss in losses]

    def _logits(self, tensors: Mapping[str, Tensor], images: Tensor) -> Tensor:
        try:
            logits: Tensor = self._forward(tensors, self._buffers, images)
        except (RuntimeError, ValueError, NotImplementedError) as e:
            if isinstance(e, torch.OutOfMemoryError):
                raise
            kind = type(self._network).__name__
            why = " ".join(str(e).split())[:200]
            raise SearchError(f"{kind} cannot be run for several problems at once ({why})", hint="together") from e
        return logits

    @torch.no_grad()
    def hand_back(self) -> None:
        """Give every network its own running statistics."""
        for name, stacked in self._buffers.items():
            for objective, own in zip(self._objectives, stacked.unbind(), strict=True):
                objective.network.get_buffer(name).copy_(own)


def _gradient(leaf: Tensor) -> Tensor:
    assert leaf.grad is not None
    return leaf.grad
