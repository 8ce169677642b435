"""CNNSplitter: for every class the kernels that it needs, found by a genetic search; nothing is trained.

What it does: kernels of each layer are sorted by how active they are on images of a class, and divided
into genes. Candidates for each class keep some of the genes, rather the important ones. In every
generation compositions of candidates for all classes are judged together, by how often their largest
score is right and by how different their masks are; candidates of good compositions go on and have
children. The composition that is best on val is kept. A module's score is the network's own output.

When to use it: as the rival of gradsplitter. Without training, kernels can only go from a network that
has many to spare; a narrow one loses accuracy at once.

Differences from the paper: the search judges on training images and chooses on val (published: one set
for importance, search and stopping); sensitive layers are found by a rule (published: by a person);
channels that are added go together; a layer keeps a gene at least; the best of each number of classes go
on (published: those above thresholds); one process of arrays, reproducible from its seed.

Published settings: populations of 100, 200 generations, all images of the validation split.

Claimed: 2.89 points of accuracy lost, means over models; precision +12.54 and recall +2.14 points of a
weak model's class that is patched.

Source: H. Qi et al., "Patching Weak Convolutional Neural Network Models through Modularization and
Composition", ASE 2022.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from seam.checkpoint import load_state, save_state
from seam.composition.activity import activity_of, count_for_their_class, first_of_each
from seam.composition.genes import Genome, descended, drawn, genome_of
from seam.composition.heads import ReadOut
from seam.composition.judged import Judged
from seam.composition.module import Piece
from seam.composition.splitting import Cycle
from seam.composition.tournament import Compositions, tournament
from seam.configs.modules import CnnSplitterConfig, ModulesConfig
from seam.data.images import LabelledImages
from seam.data.lazy import select
from seam.masks.gate import Gated
from seam.masks.groups import ChannelGroups, channel_groups, kinds_of
from seam.masks.kernels import kernel_masks
from seam.methods.modules import UNWATCHED, Classes, ModulesWatch, key_of
from seam.runtime import Runtime


def start(
    source: nn.Module,
    classes: Classes,
    config: ModulesConfig,
    runtime: Runtime,
    seed: int,
    watch: ModulesWatch = UNWATCHED,
) -> dict[str, Piece]:
    """Find the modules of all classes.

    Args:
        source: the trained network, in eval mode, on the CPU; it is not changed.
        classes: its classes, two or more, and images of them.
        config: `cnnsplitter` counts.
        runtime: device and precision.
        seed: of everything drawn.
        watch: where to keep the state, and whom to tell of generations.

    Raises:
        NoChannelsError: none of the source's channels can be removed.
    """
    own, example = config.cnnsplitter, classes.example()
    groups = channel_groups(source, example)
    gated = Gated(source, groups, example).to(runtime.device)
    preprocess, count = classes.preprocess.to(runtime.device), len(classes.names)
    rows = first_of_each(classes.train.labels.cpu(), count, max(1, own.images // count))
    train = LabelledImages(select(classes.train.images, rows), classes.train.labels[rows]).to(runtime.device)
    judged = Judged(gated, train, preprocess, own.modules_at_once, runtime)
    genome = genome_of(groups, _importance(judged, groups, count, own.confidence), own.genes)
    sensitive = _sensitive(judged, groups, genome, count, own.sensitivity)
    path = None if watch.folder is None else watch.folder / "cnnsplitter.safetensors"
    key = key_of(source, classes, own, runtime, seed)
    candidates = _search(judged, own, genome, sensitive, count, seed, (path, key), watch)
    val = Judged(gated, classes.val.to(runtime.device), preprocess, own.modules_at_once, runtime)
    kept = max(candidates, key=val.accuracy)
    classes.preprocess.cpu()
    masks = [kernel_masks(groups, own_mask) for own_mask in kept]
    return {name: Piece(masks[i], ReadOut(count, i)) for i, name in enumerate(classes.names)}


def _importance(
    judged: Judged, groups: ChannelGroups, classes: int, confidence: float
) -> Float[Tensor, "classes groups"]:
    """How active each group is on the images that count for each class."""
    activity, logits = activity_of(judged.gated, groups, judged.data, judged.preprocess)
    labels = judged.data.labels.cpu()
    sure = count_for_their_class(logits, labels, confidence)
    return torch.stack([activity[(labels == i) & sure].mean(0) for i in range(classes)])


def _sensitive(
    judged: Judged, groups: ChannelGroups, genome: Genome, classes: int, most: float
) -> Bool[Tensor, " kinds"]:
    """Which layers cost too much accuracy when every module keeps their more important half alone: more than `most`."""
    kinds = int(kinds_of(groups).max()) + 1
    whole = torch.ones(classes, 1, genome.size, dtype=torch.bool)
    known, found = judged.accuracy(genome.groups(whole)[:, 0]), torch.zeros(kinds, dtype=torch.bool)
    for kind in range(kinds):
        own = genome.kind == kind
        genes = whole.clone()
        genes[..., own & (genome.rank < int(own.sum()) // 2)] = False
        found[kind] = judged.accuracy(genome.groups(genes)[:, 0]) < known - most
    return found


@dataclass
class _State:
    """A search between two generations."""

    genes: Bool[Tensor, "classes candidates genes"]
    number: int = 1
    """Of the generation that comes."""
    found: list[Tensor] = field(default_factory=list)
    """The best compositions of generations that were better than all before, each (classes, groups)."""
    best: float = -math.inf
    before: float = 0.0
    """Accuracy of the best composition of the generation before."""
    waited: int = 0

    @staticmethod
    def of(tensors: dict[str, Tensor], values: dict[str, Any]) -> _State:
        """What `save` wrote."""
        return _State(tensors["genes"], found=list(tensors["found"]), **values)

    def save(self, path: Path, key: str) -> None:
        """Write it."""
        values = {"number": self.number, "best": self.best, "before": self.before, "waited": self.waited}
        save_state(path, key, {"genes": self.genes, "found": torch.stack(self.found)}, values)


def _search(
    judged: Judged,
    own: CnnSplitterConfig,
    genome: Genome,
    sensitive: Tensor,
    classes: int,
    seed: int,
    state_at: tuple[Path | None, str],
    watch: ModulesWatch,
) -> list[Bool[Tensor, "classes groups"]]:
    """The best compositions of the generations, each better than the one before."""
    path, key = state_at

    def anew(number: int) -> Tensor:
        return drawn(genome, sensitive, classes, own.population, own, _generator(seed, number))

    known = None if path is None else load_state(path, key)
    state = _State(anew(0)) if known is None else _State.of(*known)
    while state.number <= own.generations and state.waited < own.patience:
        generator = _generator(seed, state.number)
        made = _judge(judged, own, genome, state.genes, state.before, generator)
        chosen = genome.groups(state.genes)[torch.arange(classes), made.chosen[0]]
        state.before, state.waited = float(made.right[0].double().mean()), state.waited + 1
        if float(made.fitness[0]) > state.best:
            state.best, state.waited = float(made.fitness[0]), 0
            state.found.append(chosen)
        if watch.on_cycle is not None:
            watch.on_cycle(Cycle(state.number, own.generations, float(chosen.double().mean()), state.before))
        if own.search == "draws":
            state.genes = anew(state.number)
        else:
            state.genes = descended(genome, state.genes, _of_candidates(made, state.genes), own, generator)
        state.number += 1
        if path is not None:
            state.save(path, key)
    return state.found


def _generator(seed: int, number: int) -> torch.Generator:
    """Of one generation."""
    return torch.Generator().manual_seed(hash((seed, number)) % 2**63)


def _judge(
    judged: Judged, own: CnnSplitterConfig, genome: Genome, genes: Tensor, before: float, generator: torch.Generator
) -> Compositions:
    """The fittest compositions of a generation.

    Args:
        judged: the images.
        own: weights of accuracy and difference.
        genome: of the genes.
        genes: of all candidates.
        before: accuracy of the best composition of the generation before; the lower, the more accuracy counts.
        generator: of the order in which classes meet.
    """
    classes, count, _ = genes.shape
    kept = genome.groups(genes)
    of = torch.arange(classes).repeat_interleave(count)
    scores = judged.scores(kept.flatten(0, 1), of).unflatten(0, (classes, count))
    weight = own.alpha + max(0.0, own.gamma - before)

    def fitness(accuracy: Tensor, difference: Tensor) -> Tensor:
        return weight * accuracy.double() + (1 - own.alpha) * difference.double()

    order = torch.randperm(classes, generator=generator)
    return tournament(scores, _difference(kept), judged.data.labels.cpu(), order, fitness, own.beam)


def _difference(kept: Bool[Tensor, "classes candidates groups"]) -> Float[Tensor, "classes candidates classes others"]:
    """1 - Jaccard of each pair of masks."""
    flat = kept.flatten(0, 1).float()
    both, sizes = flat @ flat.T, flat.sum(1)
    apart = 1 - both / (sizes[:, None] + sizes - both).clamp(min=1)
    by_candidate: Tensor = apart.unflatten(1, kept.shape[:2]).unflatten(0, kept.shape[:2])
    return by_candidate


def _of_candidates(made: Compositions, genes: Tensor) -> Float[Tensor, "classes candidates"]:
    """Of each candidate the fitness of the best composition that it is in; of the others a little less than any."""
    classes, count, _ = genes.shape
    fitness = torch.full((classes, count), float(made.fitness.min()) - 1, dtype=torch.float64)
    for of in range(classes):
        fitness[of].scatter_reduce_(0, made.chosen[:, of], made.fitness.double(), "amax")
    return fitness
