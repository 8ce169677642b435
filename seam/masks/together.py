"""Channels of the values in a network's graph that stay or go together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, fx

from seam.compaction.channels import Blocks, blockwise
from seam.compaction.constants import Constants

_Labels: TypeAlias = npt.NDArray[np.int64]
_Edges: TypeAlias = tuple[_Labels, _Labels]
"""Channels that go together, in pairs."""


@dataclass(frozen=True)
class _Side:
    """What a grouped convolution reads, or what it makes."""

    channels: slice
    """Of all channels, those that it reads or makes."""
    number: int
    """Of its groups."""

    def counts(self, labels: _Labels, members: _Labels) -> npt.NDArray[np.int64]:
        """(members, number): how many channels of each of these labels, in ascending order, each group has."""
        own = labels[self.channels]
        group = np.arange(len(own)) // (len(own) // self.number)
        at = np.searchsorted(members, own).clip(max=max(len(members) - 1, 0))
        known = members[at] == own if len(members) else np.zeros(len(own), bool)
        counted = np.bincount((at * self.number + group)[known], minlength=len(members) * self.number)
        return counted.reshape(len(members), self.number)


def go_together(known: Constants, pinned: Iterable[fx.Node]) -> dict[fx.Node, Int[Tensor, " channels"]]:
    """Of every value the group of each of its channels, from 0; -1: it always stays.

    A grouped convolution loses whole groups, what they read with what they make, where these can go
    one by one; an attention its heads. Where they cannot, as behind a shuffle of channels, it keeps
    all groups, and each loses as many of the channels it reads as every other, and of those it
    makes.

    Args:
        known: of the network.
        pinned: values all of whose channels stay.
    """
    where, total = {}, 0
    for node, channels in known.channels.items():
        where[node] = slice(total, total + len(channels.constant))
        total = where[node].stop
    tied = _tied(known, where)
    stay = np.zeros(total, bool)
    for node in pinned:
        stay[where[node]] = True
    grouped = [[_Side(where[value], b.number) for value in (b.read, b.made)] for b in known.blocks]
    whole = [_whole(known, b, where) for b in known.blocks]

    def labelled(even: Sequence[int]) -> tuple[_Labels, npt.NDArray[np.bool_]]:
        labels = _labels(total, [tied, *(edges for i, edges in enumerate(whole) if i not in even)])
        return _balanced(labels, stay, [side for i in even for side in grouped[i]]) if even else (labels, stay)

    all_stay = [i for i, b in enumerate(known.blocks) if b.all_stay or b.number == 1]
    found = labelled(all_stay)
    numbers = _numbered(*found)
    failing = [i for i, b in enumerate(known.blocks) if not _go_one_by_one(grouped[i], b.made in known.layers, *found)]
    even = sorted({*all_stay, *failing})
    if even != all_stay:
        numbers = max(numbers, _numbered(*labelled(even)), key=lambda found: int(found.max(initial=-1)))
    return {node: torch.from_numpy(numbers[own]) for node, own in where.items()}


def _tied(known: Constants, where: dict[fx.Node, slice]) -> _Edges:
    ends: tuple[list[Tensor], list[Tensor]] = ([], [])
    for node, ties in known.ties.items():
        for tie in ties:
            ends[0].append(tie.of_source + where[tie.source].start)
            ends[1].append(tie.of_result + where[node].start)
    for link in known.links:
        for n, e in zip(link, ends, strict=True):
            e.append(torch.arange(where[n].start, where[n].stop))
    one, other = (torch.cat(e).numpy() if e else np.empty(0, np.int64) for e in ends)
    return one, other


def _whole(known: Constants, blocks: Blocks, where: dict[fx.Node, slice]) -> _Edges:
    """What each group reads and makes, in pairs."""
    read, made = (len(known.channels[value].constant) // blocks.number for value in (blocks.read, blocks.made))
    tie = blockwise(blocks.read, blocks.number, read, made)
    return (tie.of_source + where[blocks.read].start).numpy(), (tie.of_result + where[blocks.made].start).numpy()


def _labels(total: int, edges: Sequence[_Edges]) -> _Labels:
    one, other = (np.concatenate(ends) for ends in zip(*edges, strict=True))
    joined = coo_array((np.ones(len(one), bool), (one, other)), shape=(total, total))
    return np.asarray(connected_components(joined, directed=False)[1], np.int64)


def _numbered(labels: _Labels, stay: npt.NDArray[np.bool_]) -> _Labels:
    """Numbers from 0 for the labels of which nothing stays, -1 for the others."""
    number_of = np.full(labels.max(initial=-1) + 1, -1)
    free = np.setdiff1d(labels, labels[stay])
    number_of[free] = np.arange(len(free))
    return number_of[labels]


def _go_one_by_one(sides: Sequence[_Side], of_layer: bool, labels: _Labels, stay: npt.NDArray[np.bool_]) -> bool:
    """Whether groups can go without the others, or nothing else can: those of a convolution have one channel each."""
    made, number = labels[sides[1].channels], sides[1].number
    apart = len(np.unique(made)) == number and not np.isin(made, labels[stay]).all()
    return apart or (of_layer and any(len(labels[side.channels]) == number for side in sides))


def _balanced(
    labels: _Labels, stay: npt.NDArray[np.bool_], sides: Sequence[_Side]
) -> tuple[_Labels, npt.NDArray[np.bool_]]:
    """Join labels, as few as possible at a time, until of each all these groups have as many channels.

    Returns:
        The labels, and which channels stay: those that stayed, and what cannot be balanced.
    """
    found = int(labels.max()) + 1
    joined, stays = np.arange(found), np.zeros(found, bool)
    stays[labels[stay]] = True
    for concerned in _concerned(labels, sides, stays):
        members = np.unique(np.concatenate([labels[side.channels] for side in concerned]))
        members = members[~stays[members]]
        counts = np.concatenate([_excess(side.counts(labels, members)) for side in concerned], 1)
        for together in _zero_sums(np.unique(counts, axis=1)):
            if counts[together].sum(0).any():
                stays[members[together]] = True
            else:
                joined[members[together]] = members[together[0]]
    return joined[labels], stay | stays[labels]


def _concerned(labels: _Labels, sides: Sequence[_Side], stays: npt.NDArray[np.bool_]) -> list[list[_Side]]:
    """The sides in sets, such that no label that may go is in two of them."""
    own = [np.unique(labels[side.channels]) for side in sides]
    own = [ids[~stays[ids]] for ids in own]
    first = len(stays)
    ends = np.concatenate(own), np.repeat(np.arange(len(sides)), [len(ids) for ids in own]) + first
    graph = coo_array((np.ones(len(ends[0]), bool), ends), shape=(first + len(sides),) * 2)
    part = connected_components(graph, directed=False)[1][first:]
    return [[side for side, p in zip(sides, part, strict=True) if p == number] for number in np.unique(part)]


def _excess(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """By how much each block has more than the mean, times the number of blocks."""
    return np.asarray(counts * counts.shape[1] - counts.sum(1, keepdims=True))


def _zero_sums(vectors: npt.NDArray[np.int64]) -> list[list[int]]:
    """Sets of vectors that add up to zero, the smallest first; the last set may not, and is what is left.

    Of vectors that are equal the first ones are taken first.
    """
    if not len(vectors):
        return []
    kinds, kind, left = np.unique(vectors, axis=0, return_inverse=True, return_counts=True)
    waiting = [np.flatnonzero(kind.reshape(-1) == k).tolist() for k in range(len(kinds))]
    rules = [LinearConstraint(kinds.T, 0, 0), LinearConstraint(np.ones((1, len(kinds))), 1)]
    sets: list[list[int]] = []
    while left.any():
        found = milp(np.ones(len(kinds)), integrality=np.ones(len(kinds)), bounds=Bounds(0, left), constraints=rules).x
        taken = left if found is None else np.rint(found).astype(np.int64)
        for _ in range(int((left[taken > 0] // taken[taken > 0]).min())):
            sets.append([waiting[k].pop(0) for k, number in enumerate(taken) for _ in range(number)])
            left = left - taken
    return sets
