"""Layers that are called several times, or that share a weight: what goes together because of that."""

from __future__ import annotations

from collections.abc import Mapping

from torch import fx

from seam.compaction.channels import Channels
from seam.compaction.trace import LAYERS, PER_CHANNEL, Traced

Links = list[tuple[fx.Node, fx.Node]]
_WHY = "a layer that is called several times shares channels with what is not known"


def link_calls(traced: Traced, channels: Mapping[fx.Node, Channels]) -> tuple[Links, dict[fx.Node, str]]:
    """Link the calls of the same weights: their results go together, and what they read.

    Returns:
        Pairs of values that keep the same channels; and values that keep all, as nothing is known of
        the other in such a pair -> the reason.
    """
    calls: dict[int, list[fx.Node]] = {}
    for node in traced.nodes:
        if traced.is_shared(node) and traced.kind(node) in (*LAYERS, *PER_CHANNEL):
            first = next(traced.called(node).parameters(recurse=False), node)
            calls.setdefault(id(first), []).append(node)
    links: Links = []
    whole: dict[fx.Node, str] = {}
    for first, *others in calls.values():
        reads = first.all_input_nodes[0]
        for pair in (p for node in others for p in ((first, node), (reads, node.all_input_nodes[0]))):
            known = [n for n in pair if n in channels]
            if len(known) == 2 and len({len(channels[n].constant) for n in known}) == 1:
                links.append(pair)
            else:
                whole |= dict.fromkeys(known, _WHY)
    return links, whole
