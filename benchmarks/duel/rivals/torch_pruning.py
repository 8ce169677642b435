"""Torch-Pruning 1.6: group Taylor and group magnitude, in one step and in steps with training in between.

Global ranking over all groups of channels, as in the library's examples; the last layer stays.
Where the library cannot follow the channels that residual branches share (it loses the padding of
shortcuts without weights, and the network breaks), the inner channels of the branches alone are
given to it. It leaves a layer whole that would lose all its channels, so time does not fall
steadily with the ratio: the ratio is looked for on a grid before it is bisected.

Source: G. Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023; the library's
examples.
"""

from __future__ import annotations

import warnings
from importlib.metadata import version
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F

from duel.budget import first_within
from duel.task import ArmFunction, Made, NoLayoutError, Setting, Task
from duel.train import trained
from seam.masks.masks import apply_masks
from seam.networks.head import Reengineered

Criterion = Literal["taylor", "magnitude"]
Scope = Literal["all", "inner"]
Layout = tuple[Scope, int | None, float]
MULTIPLES = (8, 4, None)
"""`round_to`: widths that engines like; the first that has a layout within the budget is taken."""
STEPS = 4
"""Of the iterative arms, a pass of training after each but the last."""
_MOST = 0.9
"""Of a layer's channels may go."""
_GRID = tuple(round(0.05 * i, 2) for i in range(1, 20))
_BATCH = 64
_MORE, _TRIES = 0.05, 20


def arm(criterion: Criterion, *, iterative: bool) -> ArmFunction:
    """The arm of one criterion."""
    gradients = 1 if criterion == "taylor" else 0

    def once(task: Task, setting: Setting) -> Made:
        layout = _layout(task, criterion, 1)
        small = task.original()
        pruner = _pruner(task, small, criterion, layout, 1)
        if gradients:
            _accumulate(task, small, 0, 1)
        masks = removed_by(pruner, small.network)
        model = task.original()
        apply_masks(model.network, masks)
        epochs = trained(task, model, setting, task.passes - gradients, masks=masks)
        return Made(model, epochs, task.passes, facts=_facts(layout, small, 1))

    def in_steps(task: Task, setting: Setting) -> Made:
        layout = _layout(task, criterion, STEPS)
        model = task.original()
        pruner = _pruner(task, model, criterion, layout, STEPS)
        for step in range(STEPS):
            if gradients:
                _accumulate(task, model, step, STEPS)
            _step(pruner, model)
            if step < STEPS - 1:
                trained(task, model, setting, 1, schedule="constant", seed=1000 * (step + 1) + task.seed)
        more = _until_it_fits(task, model, criterion, layout)
        epochs = trained(task, model, setting, task.passes - gradients - (STEPS - 1))
        return Made(model, epochs, task.passes, facts={**_facts(layout, model, STEPS), "more_steps": more})

    return in_steps if iterative else once


def _facts(layout: Layout, model: nn.Module, steps: int) -> dict[str, Any]:
    scope, multiple, ratio = layout
    about = {"scope": scope, "round_to": multiple, "ratio": ratio, "steps": steps}
    return {**about, "widths": widths(model), "version": version("torch-pruning")}


def _layout(task: Task, criterion: Criterion, parts: int) -> Layout:
    """What may be pruned, the multiple of widths, and the smallest pruning ratio that fits the budget.

    Taylor's gradients are those of the first of so many parts of the training images, which the
    first step of the pruning uses too.
    """
    felt = task.original()
    if criterion == "taylor":
        _accumulate(task, felt, 0, parts)
    least = []
    for scope in scopes(task):
        for multiple in MULTIPLES:

            def cost(ratio: float, scope: Scope = scope, multiple: int | None = multiple) -> float:
                model = task.original()
                for mine, theirs in zip(model.parameters(), felt.parameters(), strict=True):
                    mine.grad = None if theirs.grad is None else theirs.grad.clone()
                _step(_pruner(task, model, criterion, (scope, multiple, ratio), 1), model)
                return task.spent(model)

            ratio, smallest = first_within(task, f"torch-pruning-{criterion}-{parts}-{scope}-{multiple}", cost, _GRID)
            if ratio is not None:
                return scope, multiple, ratio
            least.append(smallest)
    raise NoLayoutError(f"no layout within the budget: the smallest takes {min(least):.1%} ({scope} channels)")


def scopes(task: Task) -> list[Scope]:
    """Which channels the library can prune: all groups, where the network runs afterwards, before the inner ones."""
    model = task.original()
    try:
        _step(_pruner(task, model, "magnitude", ("all", None, 0.5), 1), model)
        model(task.example())
    except Exception:  # whatever the library or the broken network raises
        return ["inner"]
    return ["all", "inner"]


def _pruner(task: Task, model: Reengineered, criterion: Criterion, layout: Layout, steps: int) -> Any:
    import torch_pruning as tp

    scope, multiple, ratio = layout
    network = model.network.requires_grad_(True)
    importance = {"taylor": tp.importance.GroupTaylorImportance, "magnitude": tp.importance.GroupMagnitudeImportance}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tp.pruner.BasePruner(
            network,
            task.example(),
            importance=importance[criterion](),
            global_pruning=True,
            pruning_ratio=ratio,
            max_pruning_ratio=_MOST,
            iterative_steps=steps,
            ignored_layers=[_last(network), *(_shared(network, task.example()) if scope == "inner" else [])],
            round_to=multiple,
        )


def _step(pruner: Any, model: Reengineered) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruner.step()
    model.zero_grad(set_to_none=True)
    model.eval()


def removed_by(pruner: Any, network: nn.Module) -> dict[str, torch.Tensor]:
    """Prune in one step; what that removes, as masks over the weights before it.

    With masks, the training knows which channels of the source are left.
    """
    import torch_pruning as tp

    layers = {m: n for n, m in network.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    masks = {f"{n}.weight": torch.ones_like(m.weight, dtype=torch.bool) for m, n in layers.items()}
    masks |= {f"{n}.bias": torch.ones_like(m.bias, dtype=torch.bool) for m, n in layers.items() if m.bias is not None}
    made = (tp.prune_conv_out_channels, tp.prune_linear_out_channels)
    read = (tp.prune_conv_in_channels, tp.prune_linear_in_channels)
    for group in pruner.step(interactive=True):
        for item in group:
            name = layers.get(item.dep.target.module)
            if name is not None and item.dep.handler in made:
                masks[f"{name}.weight"][item.idxs] = False
                if f"{name}.bias" in masks:
                    masks[f"{name}.bias"][item.idxs] = False
            elif name is not None and item.dep.handler in read:
                masks[f"{name}.weight"][:, item.idxs] = False
        group.prune()
    return masks


def _accumulate(task: Task, model: Reengineered, part: int, parts: int) -> None:
    """Gradients of the cross-entropy over one of so many parts of the training images, eval mode."""
    device = task.runtime.device
    model.to(device).eval().requires_grad_(True)
    preprocess = task.source.preprocess().to(device)
    for images, labels in zip(
        task.train.images[part::parts].to(device).split(_BATCH),
        task.train.labels[part::parts].to(device).split(_BATCH),
        strict=True,
    ):
        with task.runtime.autocast():
            loss = F.cross_entropy(model(preprocess(images)).float(), labels, reduction="sum") / len(task.train)
        loss.backward()
    model.cpu()


def _until_it_fits(task: Task, model: Reengineered, criterion: Criterion, layout: Layout) -> int:
    """What a ranking that has changed by training has left over the budget goes in small steps; their number."""
    for tries in range(_TRIES):
        if task.fits(model):
            return tries
        if criterion == "taylor":
            _accumulate(task, model, 0, 8)
        more = min(_MORE * (tries + 1), _MOST)
        _step(_pruner(task, model, criterion, (layout[0], layout[1], more), 1), model)
    raise NoLayoutError(f"no layout within the budget after training in between: {task.spent(model):.1%}")


def _last(network: nn.Module) -> nn.Module:
    """The layer that makes the source's logits."""
    return [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))][-1]


def _shared(network: nn.Module, example: torch.Tensor) -> list[nn.Module]:
    """Layers whose output channels go together with those of other layers."""
    import torch_pruning as tp

    kinds = (nn.Conv2d, nn.Linear)
    graph = tp.DependencyGraph().build_dependency(network, example_inputs=example)
    found: list[nn.Module] = []
    for group in graph.get_all_groups(root_module_types=list(kinds)):
        handlers = (tp.prune_conv_out_channels, tp.prune_linear_out_channels)
        makers = {item.dep.target.module for item in group if item.dep.handler in handlers}
        found += list(makers) if len(makers) > 1 else []
    return list(dict.fromkeys(found))


def widths(model: nn.Module) -> dict[str, int]:
    """Layer -> its output channels."""
    return {n: m.out_channels for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
