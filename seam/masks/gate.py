"""A network that runs as several modules at once: each image under several masks of channels, in one pass."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seam.compaction.attention import split_attention
from seam.compaction.layers import fold_norms
from seam.compaction.trace import NotFollowedError, trace
from seam.errors import NoChannelsError
from seam.masks.groups import ChannelGroups


class Gated(nn.Module):
    """A network whose layers read their input times a gate a channel, other gates for each module.

    The modules lie in the batch dimension, so that one pass without a loop computes all of them. A
    gate of 0 is the same as weights of zero that make and read the channel: only what layers read,
    and norms by statistics over all channels, has an effect.
    """

    def __init__(self, network: nn.Module, groups: ChannelGroups, example: Float[Tensor, "batch ..."]) -> None:
        """Take a copy of `network`, frozen, in eval mode and on the CPU; BatchNorm is folded into the layers.

        Args:
            network: in eval mode; it is not changed.
            groups: of its channels.
            example: images, of which only shape and type are used.

        Raises:
            NoChannelsError: the network cannot be followed.
        """
        super().__init__()
        own = copy.deepcopy(network).cpu().eval().requires_grad_(False)
        try:
            traced = trace(own, torch.zeros(2, *example.shape[1:], dtype=example.dtype))
        except NotFollowedError as e:
            raise NoChannelsError(f"the channels of {type(network).__name__} cannot be followed ({e})") from e
        split_attention(traced)
        fold_norms(traced)
        traced.clean()
        self.graph: nn.Module = traced.module
        self.reads = {name: ids for name, ids in groups.inputs.items() if bool((ids >= 0).any())}
        """Layer -> group of each channel that it reads."""
        self._gates: Tensor | None = None
        for name, ids in {**self.reads, **groups.norms}.items():
            self.graph.get_submodule(name).register_forward_pre_hook(partial(self._times_gates, ids))

    def forward(
        self, images: Float[Tensor, "modules_batch ..."], gates: Float[Tensor, "modules groups"]
    ) -> Float[Tensor, "modules batch classes"]:
        """The network's outputs, each of the modules with images of its own.

        Args:
            images: of the first module, then those of the second, and so on, as many for each.
            gates: of each module's groups; a gradient comes back for each.
        """
        self._gates = torch.cat([gates, gates.new_ones(len(gates), 1)], 1)
        try:
            logits: Tensor = self.graph(images)
        finally:
            self._gates = None
        by_module: Tensor = logits.unflatten(0, (len(gates), -1))
        return by_module

    @contextmanager
    def reading(self, see: Callable[[str, Tensor], None]) -> Iterator[None]:
        """Within the block `see` is told of every layer in `reads` and what it reads, before the gates."""
        hooks = [
            self.graph.get_submodule(name).register_forward_pre_hook(
                lambda module, inputs, name=name: see(name, inputs[0]), prepend=True
            )
            for name in self.reads
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _times_gates(self, ids: Tensor, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        gates, (read, *others) = self._gates, inputs
        if gates is None:
            return inputs
        by_module = read.unflatten(0, (len(gates), -1))
        shape = [1] * by_module.ndim
        at = -1 if isinstance(module, (nn.Linear, nn.LayerNorm, nn.RMSNorm)) else 2
        shape[0], shape[at] = len(gates), len(ids)
        return ((by_module * gates[:, ids.to(gates.device)].view(shape)).flatten(0, 1), *others)


class KernelScores(nn.Module):
    """A score for every group of channels and module: the group is kept where its score is above 0.

    They begin at 1, or as `put` says. The best group of every layer stays, but for layers that may go whole. The
    gradient passes the step unchanged, but for a clamp to [-1, 1] (straight-through).

    Source: GradSplitter's published code, *same*, but for the groups and the one that stays
    (published: a layer without kernels gets its first one when the module is extracted).
    """

    open: Tensor
    weights: Tensor

    def __init__(self, groups: ChannelGroups, modules: int, shared: float = 0.0) -> None:
        """Take the `groups` of a network.

        Args:
            groups: of its channels.
            modules: how many.
            shared: share of the layers, in their order, whose groups every module keeps.
        """
        super().__init__()
        self.scores = nn.Parameter(torch.ones(modules, groups.number))
        self.scores.register_hook(lambda gradient: gradient.clamp(-1, 1))
        layers = {name: ids[ids >= 0].unique() for name, ids in groups.outputs.items()}
        staying = [ids for name, ids in layers.items() if len(ids) and name not in groups.dispensable]
        self._staying = [ids for ids in staying if len(ids)]
        always = torch.zeros(groups.number, dtype=torch.bool)
        with_groups = [ids for ids in layers.values() if len(ids)]
        for ids in with_groups[: int(shared * len(with_groups))]:
            always[ids] = True
        self.register_buffer("open", always, persistent=False)
        self.register_buffer("weights", _kernels(groups), persistent=False)

    def __len__(self) -> int:
        """Modules."""
        return len(self.scores)

    def gates(self) -> Float[Tensor, "modules groups"]:
        """1 where a group is kept, 0 where it is not; a gradient reaches the scores of both."""
        hard = (self.scores > 0) | self.open
        for ids in self._staying:
            best = ids.to(hard.device)[self.scores[:, ids].argmax(1)]
            hard[torch.arange(len(hard), device=hard.device), best] = True
        return hard.float() + self.scores - self.scores.detach()

    @torch.no_grad()
    def put(self, scores: Float[Tensor, "modules groups"]) -> None:
        """Take these scores."""
        self.scores.copy_(scores)

    def kept(self) -> float:
        """Fraction of the kernels that are kept, over all modules."""
        return float(((self.gates().detach() > 0.5).float() @ self.weights).mean() / self.weights.sum())


def _kernels(groups: ChannelGroups) -> Tensor:
    """Of each group, the kernels that make it."""
    made = torch.cat([ids[ids >= 0] for ids in groups.outputs.values()])
    return made.bincount(minlength=groups.number).float()
