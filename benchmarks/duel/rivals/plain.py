"""Arms that need no library of others: the unpruned network, uniform width, random channels, from scratch."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from duel.budget import least_removed, remembered
from duel.task import ArmFunction, Made, NoLayoutError, Setting, Task, seeded
from duel.train import trained
from seam.masks.channels import ScoredChannels
from seam.masks.groups import ChannelGroups, channel_groups
from seam.masks.masks import Masks, apply_masks
from seam.masks.scores import masks_of
from seam.networks.build import build
from seam.networks.head import Reengineered, TargetHead

MULTIPLES = (8, 4, 2)
"""Widths are multiples of the first of these that has a layout within the budget: engines compute
channels in blocks, so that other widths cost more than they hold."""
_MOST = 0.95
"""Of every layer's channels may be removed."""

Ranking = Callable[[Task, ChannelGroups], Float[Tensor, " groups"]]


def whole(task: Task, setting: Setting) -> Made:
    """Nothing removed: what the same training makes of the original."""
    model = task.original()
    epochs = trained(task, model, setting, task.passes)
    return Made(model, epochs, task.passes)


def uniform(task: Task, setting: Setting) -> Made:
    """Of all channels that go together, in every layer the same share, those of the greatest L2 norm of their weights.

    Source: H. Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017, with L2 norms and
    over whole groups (*differs*: L1, over filters alone).
    """
    masks, facts = _layout(task, "uniform", _norms)
    return _masked(task, setting, masks, facts)


def random_channels(draw: int) -> ArmFunction:
    """The arm whose channels are drawn at random, in every layer the same share."""

    def ranking(task: Task, groups: ChannelGroups) -> Float[Tensor, " groups"]:
        return torch.rand(groups.number, generator=seeded(1000 * draw + task.seed))

    def arm(task: Task, setting: Setting) -> Made:
        masks, facts = _layout(task, f"random-{draw}", ranking)
        return _masked(task, setting, masks, facts)

    return arm


def _masked(task: Task, setting: Setting, masks: Masks, facts: dict[str, object]) -> Made:
    """The original without what the masks remove, trained."""
    model = task.original()
    apply_masks(model.network, masks)
    epochs = trained(task, model, setting, task.passes, masks=masks)
    return Made(model, epochs, task.passes, facts=facts)


def scratch(task: Task, setting: Setting) -> Made:
    """The network of `uniform` with fresh weights and a fresh head."""
    masks, facts = _layout(task, "uniform", _norms)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        network = fresh(task)
        head = TargetHead(task.source.info.num_classes, task.target.num_classes)
    apply_masks(network, masks)
    model = Reengineered(network, head).eval()
    epochs = trained(task, model, setting, task.passes, masks=masks)
    return Made(model, epochs, task.passes, facts=facts)


def fresh(task: Task) -> nn.Module:
    """The source's architecture with fresh weights, drawn from torch's global generator."""
    from duel.data import architecture_of

    return build(architecture_of(task.source.info.architecture), task.source.info.num_classes).eval()


def _layout(task: Task, name: str, ranking: Ranking) -> tuple[Masks, dict[str, object]]:
    """The masks that keep the best share of every layer within the budget, and what to say of them."""
    network = task.source.network
    groups = channel_groups(network, task.example())
    order = ranking(task, groups)

    def cost(candidate: Masks) -> float:
        model = task.original()
        apply_masks(model.network, candidate)
        return task.spent(model)

    for multiple in MULTIPLES:
        masks = functools.partial(masks_keeping, network, groups, order, multiple)
        share = remembered(task, f"{name}-{multiple}", lambda masks=masks: _share(task, masks, cost))
        if share is not None:
            found = {"removed_of_each_layer": share, "widths": widths(groups, order, multiple, share)}
            return masks(share), found
    raise NoLayoutError(f"no layout within the budget: the smallest takes {cost(masks(_MOST)):.1%}")


def _share(task: Task, masks: Callable[[float], Masks], cost: Callable[[Masks], float]) -> float | None:
    found = least_removed(masks, cost, task.budget.share, high=_MOST)
    return None if found is None else found[0]


def masks_keeping(
    network: nn.Module, groups: ChannelGroups, order: Float[Tensor, " groups"], multiple: int, removed: float
) -> dict[str, Tensor]:
    """Masks of whole channels: of the groups that the same layers make, all but a share, those that rank highest."""
    scored = ScoredChannels(network, groups)
    scored.scores = kept_groups(groups, order, multiple, removed).float()
    scored.keep_above(0.5)
    return masks_of(scored)


def kept_groups(
    groups: ChannelGroups, order: Float[Tensor, " groups"], multiple: int, removed: float
) -> Bool[Tensor, " groups"]:
    """Which groups stay: of every kind a multiple of `multiple` and at least that many, or all if there are fewer."""
    kept = torch.ones(groups.number, dtype=torch.bool)
    for members in _kinds(groups):
        wanted = max(multiple, int((1 - removed) * len(members) / multiple + 0.5) * multiple)
        kept[members[order[members].argsort(descending=True)[wanted:]]] = False
    return kept


def widths(groups: ChannelGroups, order: Float[Tensor, " groups"], multiple: int, removed: float) -> dict[str, int]:
    """Layer -> channels that it keeps."""
    kept = torch.cat([kept_groups(groups, order, multiple, removed), torch.ones(1, dtype=torch.bool)])
    return {name: int(kept[ids].sum()) for name, ids in groups.outputs.items()}


def _kinds(groups: ChannelGroups) -> list[Tensor]:
    """Groups that the same layers make."""
    made = torch.zeros(groups.number, len(groups.outputs), dtype=torch.bool)
    for i, ids in enumerate(groups.outputs.values()):
        made[ids[ids >= 0], i] = True
    kinds, kind = made.unique(dim=0, return_inverse=True)
    return [torch.nonzero(kind == i).flatten() for i in range(len(kinds))]


def _norms(task: Task, groups: ChannelGroups) -> Float[Tensor, " groups"]:
    """L2 norm of all filters of a group."""
    total = torch.zeros(groups.number)
    for name, ids in groups.outputs.items():
        weight = task.source.network.get_submodule(name).weight
        squares = weight.detach().flatten(1).square().sum(1)
        total.index_add_(0, ids[ids >= 0], squares[ids >= 0])
    return total.sqrt()
