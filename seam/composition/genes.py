"""Populations of masks of kernels: what a gene keeps, how they are drawn, and how they descend."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seam.configs.modules import CnnSplitterConfig
from seam.masks.groups import ChannelGroups, kinds_of

_WIDE = 256
"""Groups of a layer from which on it has ten times as many genes."""


@dataclass(frozen=True)
class Genome:
    """Which groups of channels a gene of a class stands for: those of a layer that are about equally important."""

    of_group: Int[Tensor, "classes groups"]
    """Gene of each group."""
    kind: Int[Tensor, " genes"]
    """Layers that its groups are made by, by number."""
    rank: Int[Tensor, " genes"]
    """Within them, from the least important, 0."""
    must: Bool[Tensor, " genes"]
    """The most important of layers that cannot do without."""

    @property
    def size(self) -> int:
        """Genes."""
        return len(self.kind)

    def groups(self, genes: Bool[Tensor, "classes candidates genes"]) -> Bool[Tensor, "classes candidates groups"]:
        """Which groups are kept."""
        return torch.stack([own[:, of] for own, of in zip(genes, self.of_group, strict=True)])

    def mended(self, genes: Bool[Tensor, "classes candidates genes"]) -> Bool[Tensor, "classes candidates genes"]:
        """The same, with what no candidate can do without."""
        return genes | self.must


def genome_of(groups: ChannelGroups, importance: Float[Tensor, "classes groups"], genes: int) -> Genome:
    """Divide each layer's groups by importance, for each class.

    Args:
        groups: of a network's channels.
        importance: of each for each class.
        genes: of a layer, as far as it has so many groups.
    """
    kinds = kinds_of(groups)
    of_group = torch.zeros_like(importance, dtype=torch.int64)
    kind_of_gene, rank = list[int](), list[int]()
    stays = {int(kinds[ids[0]]) for ids in _staying(groups)}
    for kind in range(int(kinds.max()) + 1):
        members = (kinds == kind).nonzero()[:, 0]
        own = min(len(members), genes * 10 if len(members) >= _WIDE else genes)
        place = torch.arange(len(members)) * own // len(members)
        for of in range(len(importance)):
            of_group[of, members[importance[of, members].argsort(stable=True)]] = len(rank) + place
        kind_of_gene += [kind] * own
        rank += range(own)
    last = torch.tensor([*kind_of_gene, -1]).diff() != 0
    must = last & torch.tensor([kind in stays for kind in kind_of_gene])
    return Genome(of_group, torch.tensor(kind_of_gene), torch.tensor(rank), must)


def _staying(groups: ChannelGroups) -> list[Tensor]:
    """Groups of each layer that cannot go whole."""
    found = [ids[ids >= 0] for name, ids in groups.outputs.items() if name not in groups.dispensable]
    return [ids for ids in found if len(ids)]


def drawn(
    genome: Genome,
    sensitive: Bool[Tensor, " kinds"],
    classes: int,
    count: int,
    config: CnnSplitterConfig,
    generator: torch.Generator,
) -> Bool[Tensor, "classes candidates genes"]:
    """Candidates that rather keep important genes.

    Of each layer a share of the genes, drawn from the ratios, without replacement and with
    probability softmax(rank / 10).

    Source: CNNSplitter's published code, *same*.
    """
    found = torch.zeros(classes, count, genome.size, dtype=torch.bool)
    for kind in range(len(sensitive)):
        genes = (genome.kind == kind).nonzero()[:, 0]
        ratios = torch.tensor(config.sensitive_ratios if bool(sensitive[kind]) else config.ratios)
        share = ratios[torch.randint(len(ratios), (classes, count), generator=generator)]
        noise = -torch.log(-torch.log(torch.rand(classes, count, len(genes), generator=generator)))  # Gumbel: top k
        place = (genome.rank[genes] / 10 + noise).argsort(2, descending=True).argsort(2)
        found[..., genes] = place < (share[..., None] * len(genes)).round().clamp(min=1)
    return genome.mended(found)


def descended(
    genome: Genome,
    genes: Bool[Tensor, "classes candidates genes"],
    fitness: Float[Tensor, "classes candidates"],
    config: CnnSplitterConfig,
    generator: torch.Generator,
) -> Bool[Tensor, "classes candidates genes"]:
    """The next generation: the fittest, unchanged, and children of the fitter half.

    Single-point crossover between consecutive parents; then some genes are drawn from {0, 1}.

    Source: CNNSplitter's published code, *same*.
    """
    classes, count, size = genes.shape
    elites = max(1, round(config.elites * count))
    parents = max(2, round(config.parents * count))
    order = fitness.argsort(dim=1, descending=True, stable=True)
    best = genes.gather(1, order[..., None].expand(-1, -1, size))
    children = count - elites
    first = torch.arange(children) % parents
    point = torch.randint(1, size, (classes, children, 1), generator=generator)
    born = torch.where(torch.arange(size) < point, best[:, first], best[:, (first + 1) % parents])
    changed = torch.rand(born.shape, generator=generator) < config.mutation
    anew = torch.rand(born.shape, generator=generator) < 0.5
    return torch.cat([best[:, :elites], genome.mended(torch.where(changed, anew, born))], 1)
