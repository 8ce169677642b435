"""Groups of channels that stay or go together, found in a network's graph."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor, fx, nn

from seam.compaction.analysis import reads_every_channel
from seam.compaction.attention import split_attention
from seam.compaction.constants import Constants
from seam.compaction.held import held_in
from seam.compaction.layers import Layer, by_output, groups_of, is_transposed, parameter, silence
from seam.compaction.norms import is_across_channels
from seam.compaction.trace import NotFollowedError, trace
from seam.errors import NoChannelsError
from seam.masks.dispensable import dispensable
from seam.masks.together import go_together


@dataclass(frozen=True)
class Held:
    """Channels of a parameter that is no layer's."""

    axis: int
    """Along which they lie."""
    groups: Int[Tensor, " channels"]
    """Of each; -1: it always stays."""


@dataclass(frozen=True)
class ChannelGroups:
    """Which channels of which layers are one group. -1: a channel that always stays."""

    number: int
    outputs: dict[str, Int[Tensor, " out"]]
    """Layer -> group of each of its output channels."""
    inputs: dict[str, Int[Tensor, " in"]]
    """Layer -> group of each of its input channels (of the whole layer, also where it is
    grouped)."""
    dispensable: frozenset[str] = frozenset()
    """Layers that may lose all their channels, all of them at once: what they make is added to
    something that does not need them."""
    transposed: frozenset[str] = frozenset()
    """Transposed convolutions, in whose weights the inputs come first."""
    packed: frozenset[str] = frozenset()
    """Projections to queries, keys and values that an `nn.MultiheadAttention` `x` holds itself:
    `x.in_proj`."""
    held: dict[str, Held] = field(default_factory=dict)
    """Parameter that is added to, multiplied with or put beside channels (positions, class tokens,
    layer scales) -> theirs."""
    norms: dict[str, Int[Tensor, " channels"]] = field(default_factory=dict)
    """Norm by statistics over all channels -> group of each of these. Channels that are gone are
    zero in them."""

    def weight_of(self, layer: str) -> str:
        """The name of a layer's weight in the network."""
        return f"{layer}_weight" if layer in self.packed else f"{layer}.weight"


def channel_groups(network: nn.Module, images: Float[Tensor, "batch channels h w"]) -> ChannelGroups:
    """Find the groups of channels that can be removed from a network, each as a whole.

    Args:
        network: in eval mode; it is not changed.
        images: two or more, of which only shape and type are used.

    Raises:
        NoChannelsError: the network cannot be followed, or none of its channels can be removed.
    """
    kind = type(network).__name__
    try:
        traced = trace(copy.deepcopy(network).cpu().eval().requires_grad_(False), images.cpu())
    except NotFollowedError as e:
        raise NoChannelsError(f"the channels of {kind} cannot be followed ({e})", hint="structure") from e
    split_attention(traced)
    known = Constants(traced)
    groups = _groups(known)
    outputs, inputs = {}, {}
    for node, layer in known.layers.items():
        name, source = str(node.target), node.all_input_nodes[0]
        outputs[name] = groups[node]
        read = known.along(source, known.channels[node].axis)
        inputs[name] = torch.full((_inputs_of(layer),), -1) if read is None else groups[source]
    transposed = frozenset(str(node.target) for node, layer in known.layers.items() if is_transposed(layer))
    packed = frozenset(name for name in outputs if _is_packed(network, name))
    number = max((int(ids.max()) for ids in groups.values()), default=-1) + 1
    if not number:
        raise NoChannelsError(f"none of the channels of {kind} can be removed", hint="structure")
    held = {
        str(node.target): Held(known.channels[node].axis, groups[node])
        for node in known.channels
        if held_in(traced, node) is not None and bool((groups[node] >= 0).any())
    }
    norms = {str(node.target): groups[node] for node in _norms(known) if bool((groups[node] >= 0).any())}
    return ChannelGroups(number, outputs, inputs, dispensable(known, outputs), transposed, packed, held, norms)


def kinds_of(groups: ChannelGroups) -> Int[Tensor, " groups"]:
    """Of each group its kind, which is the layers that make it: groups that the same layers make are of one kind."""
    made_by = torch.zeros(groups.number, len(groups.outputs), dtype=torch.bool)
    for i, ids in enumerate(groups.outputs.values()):
        made_by[ids[ids >= 0], i] = True
    kinds: Tensor = made_by.unique(dim=0, return_inverse=True)[1]
    return kinds


def made_and_read(
    name: str, weight: Tensor, groups: ChannelGroups
) -> tuple[Int[Tensor, "groups made"], Int[Tensor, "groups read"]]:
    """Groups of the channels a parameter's weights make, and of those they read, for each group of its layer.

    `groups.number`: of a channel that always stays. The two are exchanged, as the axes of the weight
    are, for a transposed convolution. A parameter that is no layer's reads its channels, along
    whichever axis, and makes what always stays.
    """
    always = torch.full((1, 1), groups.number)
    if name in groups.held:
        axis, ids = groups.held[name].axis, groups.held[name].groups
        before = math.prod(weight.shape[:axis])
        return always.expand(1, before), ids.where(ids >= 0, groups.number)[None]
    layer, _, kind = name.rpartition(".")
    if f"{layer}.in_proj" in groups.packed and kind.startswith("in_proj_"):
        layer, kind = f"{layer}.in_proj", kind.removeprefix("in_proj_")
    if layer not in groups.outputs or kind not in ("weight", "bias"):
        return always, always
    made, read = (ids[layer].where(ids[layer] >= 0, always[0]) for ids in (groups.outputs, groups.inputs))
    if kind == "bias":
        return made[None], always
    if layer in groups.transposed:
        made, read = read, made
    read = read.view(-1, weight.shape[1])
    return made.view(len(read), -1), read


def _is_packed(network: nn.Module, layer: str) -> bool:
    owner, _, name = layer.rpartition(".")
    return name == "in_proj" and isinstance(network.get_submodule(owner), nn.MultiheadAttention)


def _groups(known: Constants) -> dict[fx.Node, Int[Tensor, " channels"]]:
    """Of every value the group of each of its channels.

    What a norm takes its statistics over has to be zero where it is gone: the channels for which
    that is not so, since a norm or table that no mask reaches makes them, stay.
    """
    pinned = _pinned(known)
    groups = go_together(known, pinned)
    norms = _norms(known)
    if not norms:
        return groups
    _remove_all(known, groups)
    left = Constants(known.traced)
    stuck = [
        source
        for source in (node.all_input_nodes[0] for node in norms)
        if bool(((left.channels[source].constant != 0) & (groups[source] >= 0)).any())
    ]
    return go_together(known, [*pinned, *stuck]) if stuck else groups


def _norms(known: Constants) -> list[fx.Node]:
    return [node for node in known.channels if is_across_channels(known.traced, node)]


def _remove_all(known: Constants, groups: Mapping[fx.Node, Int[Tensor, " channels"]]) -> None:
    """Zeros, in place, for all that makes channels which can go."""
    for node, layer in known.layers.items():
        silence(layer, groups[node] >= 0)
        if layer.bias is not None:
            layer.bias = parameter(layer.bias.masked_fill(groups[node] >= 0, 0))
    for node, channels in known.channels.items():
        value = held_in(known.traced, node)
        if value is not None:
            value.movedim(channels.axis, 0)[groups[node] >= 0] = 0


def _pinned(known: Constants) -> list[fx.Node]:
    """Values all of whose channels have to stay."""
    unknown = [node for node in known.traced.nodes if node not in known.channels]
    unread = [node for node in known.layers if known.along(node.all_input_nodes[0], known.channels[node].axis) is None]
    return [*known.whole, *(source for node in (*unknown, *unread) for source in reads_every_channel(known, node))]


def _inputs_of(layer: Layer) -> int:
    return by_output(layer).shape[1] * groups_of(layer)
