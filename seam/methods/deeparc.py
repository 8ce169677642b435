"""DeepArc: the depth of a network cut into segments whose redundant blocks go, and only some of which train again.

What it does: linear CKA between the outputs of a network's blocks, over training images without their
labels, cuts its depth into segments in which blocks give nearly the same. Of those blocks the ones
whose removal costs least on val are taken out, one by one; then their neighbours and the classifier
train, taught by the given network, and nothing else does. Without any removal it also finds the
blocks that have to change for images under attack, or for a network that is not good enough, and
trains these alone.

When to use it: a deep network of many blocks a stage, before channels are removed; or one that
should learn something more in a short time without forgetting the rest. Not for networks without
residual blocks: nothing can go there.

Differences from the paper: segments are half-open, so the last block is none of its own (the released
script counts it twice). Complete linkage by default: with single linkage, as published, the ends of
a long segment have little in common. What goes is chosen on val, and trained afterwards; the
published figures are of the best of five draws on the test images, untrained. The blocks that train
are limited by their share of the weights, not by number. `repair` compares the blocks with the
classes, as no second set of images is given.

Published settings: threshold 0.99, batches of 256, single linkage; five blocks retrained for 10
epochs at a rate of 1e-4, momentum 0.9, half of the loss being the first block's output on clean
images.

Claimed: less than 20% of the neurons trained, in 32.85% less time, at a similar accuracy; with
another compression after it, 14.8% less run time.

Source: X. Ren et al., "DeepArc: Modularizing Neural Networks for the Model Maintenance", ICSE 2023.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seam.compaction.blocks import Chain, find_blocks, without_blocks
from seam.configs.methods import RestructureConfig
from seam.data.images import LabelledImages
from seam.data.lazy import in_memory
from seam.defects.signed_steps import attacked
from seam.errors import DataError, SourceError, SuspectResultWarning
from seam.measures.cka import cka_of_blocks, cka_with_classes, runs
from seam.methods.protocol import SILENT, Target, Watch
from seam.methods.restructuring import Change, Ways, beside, few, on_val, within_share
from seam.networks.source import Preprocess
from seam.runtime import Runtime
from seam.training.doubts import doubt_training


@dataclass(frozen=True)
class Segments:
    """The depth of a network, cut where its representation changes."""

    chain: Chain
    cka: Float[Tensor, "values values"]
    """Row 0 is the input of the first block, row i the output of block i - 1."""
    runs: tuple[tuple[int, int], ...]
    """Half-open, of the rows of `cka`."""

    @property
    def redundant(self) -> tuple[str, ...]:
        """The blocks that can go and give nearly what their segment began with, most alike first."""
        begin = {start for start, _ in self.runs}
        alike = {
            block.name: float(self.cka[i, i + 1])
            for i, block in enumerate(self.chain.blocks)
            if i + 1 not in begin and block.removable
        }
        return tuple(sorted(alike, key=lambda name: -alike[name]))


@dataclass(frozen=True)
class Restructured:
    """The result."""

    network: nn.Module
    """Eval mode, frozen, on the runtime's device; its modules have the names they had."""
    segments: Segments
    change: Change
    controls: tuple[Change, ...]
    """Other ways, in the order random draws, last blocks, all weights."""
    source_val_accuracy: float


def segments(source: nn.Module, images: LabelledImages, preprocess: nn.Module, config: RestructureConfig) -> Segments:
    """Cut the depth of a network into segments.

    Args:
        source: eval mode; it is not changed.
        images: on its device, at least 4; labels are not used.
        preprocess: to its input.
        config: threshold, linkage, and how many images.

    Raises:
        SourceError: no block of it can be removed.
        DataError: fewer than 4 images.
    """
    chain = find_blocks(source, preprocess(in_memory(few(images, 2).images)))
    if not chain.removable:
        raise SourceError(
            f"{type(source).__name__}: expected residual blocks, modules that give the shape they are given and add to"
            " it, got none that can be removed; restructuring is of no use to this network."
        )
    names = [block.name for block in chain.blocks]
    cka = cka_of_blocks(source, names, few(images, config.images), preprocess, config.batch_size)
    return Segments(chain, cka, runs(cka, config.threshold, config.linkage))


def restructure(
    source: nn.Module, target: Target, config: RestructureConfig, runtime: Runtime, seed: int, watch: Watch = SILENT
) -> Restructured:
    """Restructure a network.

    Args:
        source: gives a score for each class; eval mode, it is not changed.
        target: images of its classes.
        config: the numbers.
        runtime: device and precision.
        seed: of trainings and random draws.
        watch: where a killed call continues, and whom it tells.

    Raises:
        SourceError: no block of it can be removed.
        DataError: fewer than 4 images.
        DivergedError: the loss of a training is not finite.

    Warns:
        SuspectResultWarning: nothing was removed; or see `seam.training.doubts.doubt_training`.
    """
    source, target = source.to(runtime.device), target.to(runtime.device)
    found = segments(source, target.train, target.preprocess, config)
    if config.aim == "adversarial":
        target = with_attacked(source, target, config)
    removed: tuple[str, ...] = ()
    if config.aim == "compress":
        removed = choose(source, found.redundant, target, config)
        wanted = beside(found.chain, removed)
    else:
        wanted = needing(source, found, target, config)
    parts = within_share(without_blocks(source, removed), wanted, found.chain.head, config.trained_share)
    known = on_val(source, target, target.val)[1]
    if not wanted:
        warnings.warn(_nothing_removed(found), stacklevel=2)
        return Restructured(source, found, Change("deeparc", (), (), 0.0, known, known), (), known)
    ways = Ways(source, found.chain, target, config, runtime, seed, watch)
    network, change = ways.changed("deeparc", removed, parts)
    if change.epochs:
        doubt_training("training of parts", change.epochs, target.num_classes)
    return Restructured(network, found, change, tuple(ways.controls(change)), known)


def _nothing_removed(found: Segments) -> SuspectResultWarning:
    if found.redundant:
        text = f"nothing was removed: accuracy on val falls too far without any of {', '.join(found.redundant)}"
        return SuspectResultWarning(text, hint="max_drop")
    nearest = float(found.cka.diagonal(1).max())
    text = f"nothing was removed: no block repeats its segment, the most alike neighbours have a CKA of {nearest:.3f}"
    return SuspectResultWarning(text, hint="threshold")


def choose(source: nn.Module, candidates: Sequence[str], target: Target, config: RestructureConfig) -> tuple[str, ...]:
    """Of redundant blocks those that go: one by one that whose removal leaves the lowest cross-entropy on val."""
    val = few(target.val, config.images)
    _, known = on_val(source, target, val)
    removed: list[str] = []
    while len(removed) < min(config.blocks or len(candidates), len(candidates)):
        left = [name for name in candidates if name not in removed]
        tried = {name: on_val(without_blocks(source, [*removed, name]), target, val) for name in left}
        best = min(left, key=lambda name: tried[name][0])
        if config.blocks is None and tried[best][1] < known - config.max_drop:
            break
        removed.append(best)
    return tuple(name for name in candidates if name in removed)


def needing(source: nn.Module, found: Segments, target: Target, config: RestructureConfig) -> tuple[str, ...]:
    """All blocks, first those that have to change most for the aim, by what they do to likeness.

    For attacks: that of the values for images and for the same images attacked, which are the second
    half of the target's. For repair: that of values and classes. The block after which it is lowest,
    compared with before it, comes first.
    """
    names = [block.name for block in found.chain.blocks]
    reads = (target.preprocess, config.batch_size)
    if config.aim == "adversarial":
        half = len(target.train) // 2
        clean, other = (LabelledImages(target.train.images[i], target.train.labels[i]) for i in _halves(half))
        likeness = cka_of_blocks(source, names, clean, *reads, beside=(source, other)).diagonal()
    else:
        likeness = cka_with_classes(source, names, few(target.train, config.images), *reads)
    lost = dict(zip(names, (likeness[:-1] - likeness[1:]).tolist(), strict=True))
    return tuple(sorted(names, key=lambda name: -lost[name]))


def with_attacked(source: nn.Module, target: Target, config: RestructureConfig) -> Target:
    """The target with `config.images` images a split, and behind them the same attacked.

    Raises:
        DataError: they are not stored images.
    """
    if not isinstance(target.preprocess, Preprocess):
        raise DataError(
            "attacks: expected uint8 images, a folder or arrays, got images as their own loader makes them."
        )
    normalise = target.preprocess

    def doubled(data: LabelledImages) -> LabelledImages:
        some = few(data, config.images)
        images = in_memory(some.images)
        changed = attacked(source, images, some.labels, normalise, config.eps_pixel, config.attack_steps)
        return LabelledImages(torch.cat([images, changed]), some.labels.repeat(2))

    return replace(target, train=doubled(target.train), val=doubled(target.val))


def _halves(count: int) -> tuple[slice, slice]:
    return slice(count), slice(count, None)
