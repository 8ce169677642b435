"""Which candidates go well together: against all compositions, judged one by one."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
import torch
from torch import Tensor

from seam.composition.genes import Genome, descended, drawn, genome_of
from seam.composition.tournament import tournament
from seam.configs.modules import CnnSplitterConfig
from seam.masks.groups import kinds_of
from tests.seam.composition.networks import groups_and_some, seeded

CONFIG = CnnSplitterConfig(genes=4)


def fitness(accuracy: Tensor, difference: Tensor) -> Tensor:
    return 0.9 * accuracy.double() + 0.1 * difference.double()


def test_the_best_of_all_compositions_wins_where_none_is_left_out() -> None:
    generator = torch.Generator().manual_seed(0)
    classes, count, images = 5, 3, 60
    labels = torch.arange(images) % classes
    scores = torch.randn(classes, count, images, generator=generator)
    scores += 1.5 * (labels == torch.arange(classes)[:, None, None])
    apart = torch.rand(classes, count, classes, count, generator=generator)
    apart = (apart + apart.permute(2, 3, 0, 1)) / 2
    values = {}
    for chosen in product(range(count), repeat=classes):
        logits = torch.stack([scores[i, c] for i, c in enumerate(chosen)])
        right = (logits.argmax(0) == labels).double().mean()
        pairs = [apart[i, chosen[i], j, chosen[j]] for i in range(classes) for j in range(i + 1, classes)]
        values[chosen] = float(fitness(right, torch.stack(pairs).mean()))
    best = sorted(values.values(), reverse=True)
    for order in (torch.arange(classes), torch.tensor([3, 0, 4, 2, 1])):
        found = tournament(scores, apart, labels, order, fitness, 10**6)
        assert found.classes == tuple(range(classes)) and len(found.chosen) == count**classes
        assert found.fitness.tolist() == pytest.approx(best)
        assert values[tuple(found.chosen[0].tolist())] == pytest.approx(best[0])
        few = tournament(scores, apart, labels, order, fitness, 4)
        assert len(few.chosen) == 4 and best[0] >= float(few.fitness[0]) == pytest.approx(
            values[tuple(few.chosen[0].tolist())]
        )


def genome() -> Genome:
    groups, _ = groups_and_some(seeded("concatenating"))
    importance = torch.rand(3, groups.number, generator=torch.Generator().manual_seed(2))
    return genome_of(groups, importance, 4)


def test_a_gene_is_a_layers_kernels_of_about_the_same_importance() -> None:
    groups, _ = groups_and_some(seeded("concatenating"))
    importance = torch.rand(3, groups.number, generator=torch.Generator().manual_seed(2))
    found, kinds = genome_of(groups, importance, 4), kinds_of(groups)
    assert found.size == 4 * (int(kinds.max()) + 1) == 16
    for of in range(3):
        assert torch.equal(found.kind[found.of_group[of]], kinds)
        for kind in range(4):
            members = (kinds == kind).nonzero()[:, 0]
            by_rank = [importance[of, members[found.rank[found.of_group[of, members]] == r]] for r in range(4)]
            sizes = [len(values) for values in by_rank]
            assert max(sizes) - min(sizes) <= 1
            assert all(float(a.max()) < float(b.min()) for a, b in pairwise(by_rank))
    assert found.must.nonzero()[:, 0].tolist() == [g for g in range(16) if g % 4 == 3 and not dispensable(g // 4)]


def dispensable(kind: int) -> bool:
    groups, _ = groups_and_some(seeded("concatenating"))
    kinds = kinds_of(groups)
    return any(int(kinds[groups.outputs[name][0]]) == kind for name in groups.dispensable)


def test_first_candidates_keep_a_ratio_of_each_layer_rather_the_important_ones() -> None:
    own, sensitive = genome(), torch.tensor([True, False, False, False])
    config = CnnSplitterConfig(ratios=(0.5,), sensitive_ratios=(0.75,))
    made = drawn(own, sensitive, 3, 400, config, torch.Generator().manual_seed(0))
    for kind, wanted in enumerate((3, 2, 2, 2)):
        counts = made[..., own.kind == kind].sum(2)
        # what a layer cannot do without comes on top where it was not drawn
        assert int(counts.min()) == wanted and int(counts.max()) <= wanted + 1
    shares = made.float().mean((0, 1))
    for kind in range(4):
        lowest, highest = (shares[(own.kind == kind) & (own.rank == r)] for r in (0, 3))
        assert float(lowest) < float(highest)
    assert bool(made[..., own.must].all())


def test_the_fittest_go_on_unchanged_and_children_are_made_of_the_fitter_half() -> None:
    own, generator = genome(), torch.Generator().manual_seed(1)
    genes = own.mended(torch.rand(3, 10, own.size, generator=generator) < 0.5)
    ranks = torch.stack([torch.randperm(10, generator=generator) for _ in range(3)]).double()
    config = CnnSplitterConfig(elites=0.2, parents=0.4, mutation=0.0)
    made = descended(own, genes, ranks, config, generator)
    for of in range(3):
        best = genes[of, ranks[of].argsort(descending=True)]
        assert torch.equal(made[of, :2], best[:2])
        for child in range(8):
            one, other = best[child % 4], best[(child + 1) % 4]
            cuts = [torch.cat([one[:cut], other[cut:]]) for cut in range(1, own.size)]
            assert any(torch.equal(made[of, 2 + child], cut) for cut in cuts)
    changed = descended(own, genes, ranks, CnnSplitterConfig(mutation=1.0), generator)
    assert bool(changed[..., own.must].all()) and 0.3 < float(changed[:, 2:].float().mean()) < 0.8
