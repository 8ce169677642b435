"""torch-kirigami 0.2: what the library scores by Taylor and knows to go together, the lowest scores first.

Channels are scored once, by the library, and removed in that order over the whole network, as its
greedy strategy does; of each layer eight at once and eight stay, or one, where no layout of such
widths is within the budget. The library's own strategy is not asked again for every target, as
that takes minutes each (with multiples of eight it gave up at 62% of ResNet20's channels after
10,000 trials and ten minutes), and fails as a whole where the target is out of reach.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any

import torch
from torch.nn import functional as F

from duel.budget import first_within, remembered, smallest
from duel.rivals.torch_pruning import widths
from duel.task import Made, NoLayoutError, Setting, Task
from duel.train import trained
from seam.masks.masks import Masks, apply_masks, maskable
from seam.networks.head import Reengineered

MULTIPLES = (8, 1)
_GRID = (0.2, 0.4, 0.6, 0.8, 1.0)
_BATCH = 64


def taylor(task: Task, setting: Setting) -> Made:
    """The arm: a pass of gradients, then training of what is left."""
    started = time.process_time()
    masks, facts = _layout(task)
    model = task.original()
    apply_masks(model.network, masks)
    facts |= {"planning_cpu_seconds": round(time.process_time() - started), "version": version("torch-kirigami")}
    epochs = trained(task, model, setting, task.passes - 1, masks=masks)
    return Made(model, epochs, task.passes, facts=facts)


def _layout(task: Task) -> tuple[Masks, dict[str, Any]]:
    least = []
    for multiple in MULTIPLES:
        planned = _Planned(task, multiple)
        order: list[str] = remembered(task, f"kirigami-{multiple}-order", planned.order)

        def make(
            share: float, planned: _Planned = planned, order: Sequence[str] = order, multiple: int = multiple
        ) -> Masks:
            return planned.masks(order[: _whole(share, order, multiple)])

        def cost(share: float, make: Any = make) -> float:
            return task.spent(_masked(task, make(share)))

        share, spent = first_within(task, f"kirigami-{multiple}", cost, _GRID)
        if share is not None:
            small = smallest(_masked(task, make(share)), task.example())
            about = {"removals": _whole(share, order, multiple), "of": len(order), "granularity": multiple}
            return make(share), {**about, "widths": widths(small)}
        least.append(spent)
    raise NoLayoutError(f"no layout within the budget: the smallest takes {min(least):.1%}")


def _whole(share: float, order: Sequence[str], multiple: int) -> int:
    """How many removals a share of all is, in whole blocks."""
    return round(share * len(order) / multiple) * multiple


def _masked(task: Task, masks: Masks) -> Reengineered:
    model = task.original()
    apply_masks(model.network, masks)
    return model


class _Planned:
    """The library's view of the source, made when it is first asked for."""

    def __init__(self, task: Task, multiple: int) -> None:
        self._task, self._multiple = task, multiple
        self._made: Any = None

    def _pruner(self) -> Any:
        from torch_kirigami import DependencyGraph
        from torch_kirigami.pruning import Pruner

        if self._made is None:
            model = self._task.original()
            network = model.network.requires_grad_(True)
            preprocess, train = self._task.source.preprocess(), self._task.train
            for images, labels in zip(train.images.split(_BATCH), train.labels.split(_BATCH), strict=True):
                with self._task.runtime.autocast():
                    loss = F.cross_entropy(model(preprocess(images)).float(), labels, reduction="sum") / len(train)
                loss.backward()
            graph = DependencyGraph.build(network, args=(self._task.example(),))
            pruner = Pruner(network, graph=graph)
            self._made = pruner, pruner.discover_candidates()
        return self._made

    def order(self) -> list[str]:
        """Keys of the candidates in the order in which they are removed, a block of a layer at a time."""
        from torch_kirigami.pruning import ChannelRatio, PlanningContext, WeightTaylor

        pruner, space = self._pruner()
        able = tuple(c for c in space.candidates if pruner.impact([c]).status == "resolved")
        context = PlanningContext(pruner.graph, able, ChannelRatio(0.5), space.channel_axes, pruner.constraints)
        scored = zip(context.score(WeightTaylor(), able), able, strict=True)
        layers: dict[str, list[tuple[float, str]]] = {}
        for score, candidate in scored:
            layers.setdefault(candidate.axis.tensor.id, []).append((score, candidate.key))
        return in_blocks(layers.values(), self._multiple)

    def masks(self, keys: Sequence[str]) -> Masks:
        """What is left of the source's weights without these candidates and all that goes with them."""
        pruner, space = self._pruner()
        wanted = set(keys)
        impact = pruner.impact([c for c in space.candidates if c.key in wanted])
        weights = maskable(self._task.source.network)
        masks = {name: torch.ones_like(p, dtype=torch.bool) for name, p in weights.items()}
        for selection in impact.parameters:
            for name in masks.keys() & set(selection.tensor.paths):
                for region in selection.regions:
                    masks[name][torch.meshgrid(*(_indices(axis) for axis in region.axes), indexing="ij")] = False
        return masks


def in_blocks(layers: Iterable[Sequence[tuple[float, str]]], multiple: int) -> list[str]:
    """Keys in blocks of so many of one layer, those of the lowest mean score first; the best block of a layer stays."""
    blocks = []
    for scored in layers:
        ranked = sorted(scored)
        starts = range(0, len(ranked) - multiple, multiple)
        blocks += [ranked[start : start + multiple] for start in starts]
    blocks.sort(key=lambda block: sum(score for score, _ in block) / len(block))
    return [key for block in blocks for _, key in block]


def _indices(axis: Any) -> torch.Tensor:
    return torch.cat([torch.arange(low, high) for low, high in axis.intervals])
