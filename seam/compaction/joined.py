"""Values put beside each other, and zeros around them: what that does to channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import fx
from torch.nn import functional as F

from seam.compaction.channels import Channels, beside_zeros, one_to_one, pad_position
from seam.compaction.pools import Tied
from seam.compaction.trace import Traced


def joined(
    traced: Traced, channels: Mapping[fx.Node, Channels], node: fx.Node, source: fx.Node, known: Channels
) -> Tied:
    """The channels of one value behind those of another; along another axis, each with the same one of all values."""
    parts, axis = cast("tuple[Any, Any]", (*node.args, node.kwargs.get("dim", 0), None)[:2])
    if not isinstance(parts, list | tuple) or not isinstance(axis, int):
        return None
    constants = [k.constant for part in parts if (k := channels.get(part)) is not None and k.axis == known.axis]
    if len(constants) < len(parts):
        return None
    if axis % len(traced.shapes[source]) != known.axis:
        each = torch.stack(constants)
        constant = each[0].masked_fill((each != each[0]).any(0), torch.nan)
        return known.axis, constant, [one_to_one(part, len(constant)) for part in parts]
    ends = torch.tensor([0, *map(len, constants)]).cumsum(0).tolist()
    ties = [one_to_one(part, len(c), end) for part, c, end in zip(parts, constants, ends, strict=False)]
    return known.axis, torch.cat(constants), ties


def padded(traced: Traced, node: fx.Node, source: fx.Node, known: Channels) -> Tied:
    """Zeros around a value, also as further channels."""
    widths = cast("Any", node.args[1]) if len(node.args) == 2 else ()
    zeros = node.kwargs.get("mode", "constant") == "constant" and not node.kwargs.get("value")
    if not widths or not zeros or not all(isinstance(w, int) and w >= 0 for w in widths):
        return None
    at = pad_position(known.axis, len(traced.shapes[source]))
    before, after = (*widths, *[0] * (at + 2))[at : at + 2]
    at_border = any((*widths[:at], *widths[at + 2 :]))
    constant = F.pad(beside_zeros(known) if at_border else known.constant, (before, after))
    return known.axis, constant, [one_to_one(source, len(known.constant), before)]
