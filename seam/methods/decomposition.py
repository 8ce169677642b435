"""Decomposition by activations: for every class the network without the units that the class does not use.

What it does: it looks at which units are active on images of a class (those that the network is sure
of) and on images of others; nothing is trained. In a dense ReLU network a hidden unit keeps all its
weights where some image of another class activates it; otherwise their positive part where every image
of the class does; otherwise none. In other networks whole kernels go, layer by layer: those that are
more active on other classes than on the class, the most so first, up to a share of each layer. The
score of a module is its output of the class less the mean of its other outputs.

When to use it: as the baseline that other methods are compared with. It takes seconds.

Differences from the paper: the rules for dense networks are the closed form of its loops over single
images, on the activations themselves (published: inputs scaled twice, the next layer computed from
values without ReLU); images of the class are looked for among all training images. The rule for
kernels is ours, after the one for recurrent networks. How much modules have in common is measured on
masks (published: on values of weights, where repeated zeros look like a difference).

Published settings: up to 1,000 images a class, more than 0.9 sure; of recurrent networks at most 20% of
a layer's units.

Claimed: modules of dense networks composed are as accurate as the network, -0.01 points on average;
what they keep is, as a mask, nearly the same for all classes.

Source: R. Pan and H. Rajan, "On Decomposing a Deep Neural Network into Modules", ESEC/FSE 2020; rates
of activation: "Decomposing a Recurrent Neural Network into Modules", ICSE 2023.
"""

from __future__ import annotations

import copy
from collections import defaultdict

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from seam.compaction.trace import NotFollowedError, trace
from seam.composition.activity import activity_of, count_for_their_class, first_of_each, outputs_on
from seam.composition.heads import LinearHead
from seam.composition.module import Piece
from seam.configs.modules import DecompositionConfig, ModulesConfig
from seam.data.images import LabelledImages
from seam.data.lazy import select
from seam.errors import ConfigError
from seam.masks.gate import Gated
from seam.masks.groups import ChannelGroups, channel_groups, kinds_of
from seam.masks.kernels import kernel_masks
from seam.masks.masks import maskable
from seam.methods.modules import UNWATCHED, Classes, ModulesWatch
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
        classes: its classes, and images of them; those of `train` count.
        config: `decomposition` counts.
        runtime: device.
        seed: nothing is drawn.
        watch: there is nothing to tell.

    Raises:
        ConfigError: the form is `dense`, and the network is another.
        NoChannelsError: none of the source's channels can be removed.
    """
    own = config.decomposition
    hidden = _hidden_layers(source, classes.example())
    if own.form == "dense" and not hidden:
        raise ConfigError("expected a dense ReLU network for form dense, got another; use auto or channels.")
    if hidden and own.form != "channels":
        masks = _dense(source, hidden, classes, own, runtime)
    else:
        masks = _kernels(source, classes, own, runtime)
    return {name: Piece(masks[i], _contrast(len(classes.names), i)) for i, name in enumerate(classes.names)}


def _contrast(outputs: int, index: int) -> LinearHead:
    """The output of the class less the mean of the others."""
    head = LinearHead(outputs, index)
    with torch.no_grad():
        head.linear.weight.fill_(-1 / max(1, outputs - 1))[0, index] = 1
    return head.requires_grad_(False)


def _hidden_layers(source: nn.Module, example: Tensor) -> list[str]:
    """Of a network of linear layers with ReLU alone between them, all but the last; none of another network."""
    try:
        traced = trace(copy.deepcopy(source), example)
    except NotFollowedError:
        return []
    kinds = [traced.kind(node) for node in traced.nodes if node.op not in ("placeholder", "output")]
    if set(kinds) - {"linear", "relu", "flatten", "dropout", "identity", "view", "reshape", "size", "getattr"}:
        return []
    linear = [node for node in traced.nodes if traced.kind(node) == "linear" and len(traced.shapes[node]) == 2]
    inside = [node for node in linear if any(traced.kind(user) == "relu" for user in node.users)]
    return [str(n.target) for n in inside] if len(inside) == kinds.count("linear") - 1 else []


@torch.no_grad()
def active_on_each(
    activations: dict[str, Float[Tensor, "images units"]],
    labels: Tensor,
    positive: Bool[Tensor, " images"],
    classes: int,
) -> list[dict[str, tuple[Tensor, Tensor]]]:
    """Class -> layer -> which units are active on every image that counts for the class, and on any of others."""
    found = []
    for number in range(classes):
        of_class = (labels == number) & positive
        others = labels != number
        found.append({n: (_all(a[of_class] > 0), (a[others] > 0).any(0)) for n, a in activations.items()})
    return found


def _all(active: Bool[Tensor, "images units"]) -> Bool[Tensor, " units"]:
    return active.all(0) if len(active) else torch.zeros(active.shape[1], dtype=torch.bool)


def _looked_at(classes: Classes, config: DecompositionConfig, runtime: Runtime) -> LabelledImages:
    """The training images that count, on the device that computes."""
    rows = first_of_each(classes.train.labels.cpu(), len(classes.names), config.images_per_class)
    data = classes.train.to(runtime.device)
    there = rows.to(data.labels.device)
    return LabelledImages(select(data.images, there), data.labels[there])


def _dense(
    source: nn.Module, hidden: list[str], classes: Classes, config: DecompositionConfig, runtime: Runtime
) -> list[dict[str, Tensor]]:
    """Masks over single weights, one a class."""
    network, seen = copy.deepcopy(source).to(runtime.device), defaultdict[str, list[Tensor]](list)
    hooks = [
        network.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: seen[name].append(output.detach().flatten(0, -2).cpu())
        )
        for name in hidden
    ]
    data = _looked_at(classes, config, runtime)
    logits = outputs_on(network, data, classes.preprocess.to(runtime.device))
    classes.preprocess.cpu()
    for hook in hooks:
        hook.remove()
    labels = data.labels.cpu()
    positive = count_for_their_class(logits, labels, config.confidence)
    activations = {name: torch.cat(parts) for name, parts in seen.items()}
    return [_masks_of(source, found) for found in active_on_each(activations, labels, positive, len(classes.names))]


def _masks_of(source: nn.Module, found: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Which weights of a dense network a class keeps."""
    masks = {}
    for name, parameter in maskable(source).items():
        layer = name.rpartition(".")[0]
        kept = torch.ones_like(parameter, dtype=torch.bool)
        if layer in found:
            every, others = (t.view(-1, *[1] * (parameter.ndim - 1)) for t in found[layer])
            kept = others | (every & (parameter.detach() > 0))
        masks[name] = kept.expand_as(parameter).clone().cpu()
    return masks


@torch.no_grad()
def _kernels(
    source: nn.Module, classes: Classes, config: DecompositionConfig, runtime: Runtime
) -> list[dict[str, Tensor]]:
    """Masks of kernels, one a class."""
    example = classes.example()
    groups = channel_groups(source, example)
    gated = Gated(source, groups, example).to(runtime.device)
    data = _looked_at(classes, config, runtime)
    activity, logits = activity_of(gated, groups, data, classes.preprocess.to(runtime.device))
    classes.preprocess.cpu()
    labels = data.labels.cpu()
    positive = count_for_their_class(logits, labels, config.confidence)
    masks = []
    for number in range(len(classes.names)):
        of_class = (labels == number) & positive
        score = activity[of_class].mean(0) - activity[labels != number].mean(0)
        masks.append(kernel_masks(groups, kept_groups(groups, score, config.removal)))
    return masks


def kept_groups(groups: ChannelGroups, score: Float[Tensor, " groups"], removal: float) -> Bool[Tensor, " groups"]:
    """All groups but those below 0, the lowest first, at most `removal` of the groups that the same layers make."""
    kept = torch.ones(groups.number, dtype=torch.bool)
    kinds = kinds_of(groups)
    for kind in range(int(kinds.max()) + 1):
        members = (kinds == kind).nonzero()[:, 0]
        lowest = members[score[members].argsort(stable=True)[: int(removal * len(members))]]
        kept[lowest] = score[lowest] >= 0
    return kept
