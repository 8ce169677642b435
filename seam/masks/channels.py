"""Whole channels instead of single weights.

Which channels of a network go together, and a mask with a score for each of those groups.

A channel that is gone takes with it the filter that makes it and the weights that read it, so that
`seam.compaction` can take it out of the network, and every engine is faster. Channels that are
added, multiplied or normalised together go together; in a grouped convolution the inputs and
outputs of a group do, or as many of each of its groups. Those that something reads which is not
known stay.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from seam.masks.effective import EffectiveWeights
from seam.masks.groups import ChannelGroups, kinds_of, made_and_read


class ScoredChannels:
    """Frozen weights under a mask that keeps or removes whole groups of channels: a score a group.

    A weight is kept where the channel it makes and the channel it reads are kept. Groups that the
    same layers make go in blocks, best with best, as engines compute channels in blocks: the score
    that counts is the mean of a block's. The best block of every layer always stays, so that no
    layer is cut through, but for the insides of residual blocks: without them the block is a
    constant. What is kept changes when `keep`, `keep_above` or `keep_groups` is called, and only
    then. An implementation of `seam.masks.scores.Scores`.
    """

    def __init__(self, network: nn.Module, groups: ChannelGroups, block: int = 1) -> None:
        """Take the weights of `network` and the `groups` of its channels.

        `block` groups of a layer, as far as there are so many, stay or go together.
        """
        self.effective = EffectiveWeights(network, groups.held)
        device = self.effective.weights.device
        self.scores: Float[Tensor, " groups"] = torch.ones(groups.number, device=device)
        self.scores.grad = torch.zeros_like(self.scores)
        self._block = block
        parameters = {name: network.get_parameter(name) for name in self.effective.by_name}
        self._ends = [tuple(end.to(device) for end in made_and_read(name, p, groups)) for name, p in parameters.items()]
        shapes = [(*made.shape, read.shape[1]) for made, read in self._ends]
        self._pair_shapes = [
            (*shape, p.numel() // math.prod(shape)) for shape, p in zip(shapes, parameters.values(), strict=True)
        ]
        """Of each parameter: (groups of its layer, channels made in each, channels read in each,
        weights from one to the other)."""
        layers = {name: ids[ids >= 0].unique() for name, ids in groups.outputs.items()}
        staying = [ids for name, ids in layers.items() if len(ids) and name not in groups.dispensable]
        self._number_staying = len(staying)
        none = torch.empty(0, dtype=torch.int64)
        self._layer_groups = torch.cat([none, *staying]).to(device)
        self._layers = torch.cat([none, *(torch.full_like(ids, i) for i, ids in enumerate(staying))]).to(device)
        kind = kinds_of(groups)
        self._kind, self._blocks = (t.to(device) for t in (kind, _blocks(kind, block)))
        self._block_sizes = self._blocks.bincount()
        self._open = torch.ones(groups.number + 1, dtype=torch.bool, device=device)
        self._mask = self._between()

    def mask(self) -> Bool[Tensor, " weights"]:
        """Which weights are kept, all in one."""
        return self._mask

    def signal(self) -> Float[Tensor, " scores"]:
        """Gradient of the loss with respect to each gate, as the last backward pass left it.

        That of an open gate passes unchanged.
        """
        return self._felt_by_gates(self._of_pairs(self.effective.gradient * self.effective.weights), self._open)

    def score_costs(self, costs: Float[Tensor, " weights"] | None) -> Float[Tensor, " scores"]:
        """What the weights that a group's channels make and read cost together."""
        of_pairs = self._of_pairs(torch.ones_like(self.effective.weights) if costs is None else costs)
        return self._felt_by_gates(of_pairs, torch.ones_like(self._open))

    @torch.no_grad()
    def keep(self, budget: float, costs: Float[Tensor, " weights"] | None = None) -> None:
        """Keep the blocks with the highest scores, as many as the budget pays for.

        Past one that is too dear, those after it that are not.
        """
        of_pairs = self._of_pairs((torch.ones_like(self.effective.weights) if costs is None else costs).double())
        most = budget * self._spent(torch.ones_like(self._open), of_pairs) * (1 + 1e-9)
        scores = self._block_scores()
        levels, level = scores.unique(return_inverse=True)  # a block's groups have one score
        self._open = self._leaders(scores)
        waiting = level[~self._open[:-1]].unique().flip(0)
        while len(waiting):
            paid = bisect_right(
                range(1, len(waiting) + 1), most, key=lambda n: self._spent(self._with(level, waiting[:n]), of_pairs)
            )
            self._open = self._with(level, waiting[:paid])
            felt = self._felt_by_gates(of_pairs, self._open)
            alone = felt.new_zeros(len(levels)).index_add_(0, level, felt)
            waiting = waiting[paid + 1 :]
            waiting = waiting[alone[waiting] <= most - self._spent(self._open, of_pairs)]
        self._mask = self._between()

    @torch.no_grad()
    def keep_above(self, threshold: float) -> None:
        """Keep the blocks whose score is above `threshold`, and the best block of every layer that cannot do without.

        Their scores are those of now; call it again when they have moved.
        """
        scores = self._block_scores()
        self._open = self._leaders(scores)
        self._open[:-1] |= scores > threshold
        self._mask = self._between()

    @torch.no_grad()
    def keep_groups(self, kept: Bool[Tensor, " groups"]) -> None:
        """Keep these groups, whatever their scores."""
        self._open[:-1] = kept.to(self._open.device)
        self._mask = self._between()

    def _with(self, level: Int[Tensor, " scores"], levels: Int[Tensor, " levels"]) -> Bool[Tensor, " gates"]:
        """The open gates and those of groups on these levels."""
        opened = self._open.clone()
        opened[:-1] |= torch.isin(level, levels)
        return opened

    def _between(self) -> Bool[Tensor, " weights"]:
        """The weights between open gates."""
        pairs = (self._open[made][..., None] & self._open[read][:, None] for made, read in self._ends)
        return torch.cat(
            [kept[..., None].expand(shape).flatten() for kept, shape in zip(pairs, self._pair_shapes, strict=True)]
        )

    def _of_pairs(self, of_weights: Float[Tensor, " weights"]) -> list[Float[Tensor, "_ _ _"]]:
        """Of each parameter, totals over the weights from one channel to another."""
        parts = of_weights.split([math.prod(shape) for shape in self._pair_shapes])
        return [part.view(shape).sum(3) for part, shape in zip(parts, self._pair_shapes, strict=True)]

    def _spent(self, gates: Bool[Tensor, " gates"], costs: Sequence[Float[Tensor, "_ _ _"]]) -> float:
        """Cost of what is between open gates."""
        opened = gates.to(costs[0].dtype)
        spent = [
            opened[made].flatten() @ torch.bmm(c, opened[read][..., None]).flatten()
            for (made, read), c in zip(self._ends, costs, strict=True)
        ]
        return float(torch.stack(spent).sum())

    def _felt_by_gates(
        self, of_pairs: Sequence[Float[Tensor, "_ _ _"]], gates: Bool[Tensor, " gates"]
    ) -> Float[Tensor, " scores"]:
        """Of each gate, the total over the pairs that are there when it is open, were all others as in `gates`."""
        opened = gates.to(of_pairs[0].dtype)
        total = torch.zeros_like(opened)
        for (made, read), pairs in zip(self._ends, of_pairs, strict=True):
            total.index_add_(0, made.flatten(), torch.bmm(pairs, opened[read][..., None]).flatten())
            total.index_add_(0, read.flatten(), torch.bmm(opened[made][:, None], pairs).flatten())
        return total[:-1]

    def _leaders(self, scores: Float[Tensor, " scores"]) -> Bool[Tensor, " gates"]:
        """Open gates for the best block of every layer that cannot do without."""
        best = torch.full((self._number_staying,), -torch.inf, device=scores.device)
        best.scatter_reduce_(0, self._layers, scores[self._layer_groups], "amax")
        gates = torch.zeros(len(scores) + 1, dtype=torch.bool, device=scores.device)
        gates[self._layer_groups[scores[self._layer_groups] == best[self._layers]]] = True
        gates[-1] = True
        return gates

    def _block_scores(self) -> Float[Tensor, " scores"]:
        """Of each group, the mean score of its block."""
        scores = self.scores.detach()
        if self._block == 1:
            return scores
        best_first = scores.argsort(descending=True, stable=True)
        by_kind = best_first[self._kind[best_first].argsort(stable=True)]
        total = scores.new_zeros(len(self._block_sizes)).index_add_(0, self._blocks, scores[by_kind])
        return torch.empty_like(scores).index_copy_(0, by_kind, (total / self._block_sizes)[self._blocks])


def _blocks(kind: Int[Tensor, " groups"], block: int) -> Int[Tensor, " groups"]:
    """Of the groups sorted by kind, the block."""
    sizes = kind.bincount().tolist()
    blocks, first = [], 0
    for size in sizes:
        blocks.append(first + torch.arange(size) // block)
        first += -(-size // block)
    return torch.cat(blocks)
