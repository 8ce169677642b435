"""Groups of channels that stay or go together, found in a network's graph."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, fx, nn

from seam.compaction.analysis import reads_every_channel
from seam.compaction.attention import split_attention
from seam.compaction.constants import Constants
from seam.compaction.layers import Layer, by_output, groups_of, is_transposed
from seam.compaction.trace import NotFollowedError, trace
from seam.errors import NoChannelsError
from seam.masks.together import go_together

_SUMS = ("add", "iadd", "sub", "isub", "cat", "concat", "concatenate")


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
    groups = go_together(known, _pinned(known))
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
    return ChannelGroups(number, outputs, inputs, _dispensable(known, outputs), transposed, packed)


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
    are, for a transposed convolution.
    """
    layer, _, kind = name.rpartition(".")
    if f"{layer}.in_proj" in groups.packed and kind.startswith("in_proj_"):
        layer, kind = f"{layer}.in_proj", kind.removeprefix("in_proj_")
    always = torch.full((1, 1), groups.number)
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


def _dispensable(known: Constants, outputs: Mapping[str, Tensor]) -> frozenset[str]:
    """The insides of residual blocks: layers without which the network's output still depends on its input."""
    found: frozenset[str] = frozenset()
    for name in outputs:
        together = _together(name, outputs)
        if all(bool((outputs[n] >= 0).all()) for n in together) and _connected(known, found | together):
            found |= together
    return found


def _together(name: str, outputs: Mapping[str, Tensor]) -> frozenset[str]:
    """The layers that share channels with this one, and those that share channels with them."""
    found: frozenset[str] = frozenset({name})
    before: frozenset[str] = frozenset()
    while found != before:
        before, channels = found, torch.cat([outputs[n] for n in found])
        found = frozenset(n for n, ids in outputs.items() if bool(torch.isin(ids, channels).any()))
    return found


def _connected(known: Constants, removed: frozenset[str]) -> bool:
    """Whether the output still depends on the input, were these layers' outputs constant.

    A sum does if an operand does, all else if all do.
    """
    depends: dict[fx.Node, bool] = {}
    for node in known.traced.nodes:
        read = [depends[source] for source in node.all_input_nodes if source in depends]
        if node.op == "placeholder":
            depends[node] = True
        elif read:
            some = any(read) if known.traced.kind(node) in _SUMS else all(read)
            depends[node] = some and not (node in known.layers and str(node.target) in removed)
    return depends[known.traced.nodes[-1]]


def _pinned(known: Constants) -> list[fx.Node]:
    """Values all of whose channels have to stay."""
    unknown = [node for node in known.traced.nodes if node not in known.channels]
    unread = [node for node in known.layers if known.along(node.all_input_nodes[0], known.channels[node].axis) is None]
    return [*known.whole, *(source for node in (*unknown, *unread) for source in reads_every_channel(known, node))]


def _inputs_of(layer: Layer) -> int:
    return by_output(layer).shape[1] * groups_of(layer)
