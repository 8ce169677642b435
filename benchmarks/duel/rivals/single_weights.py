"""Arms over single weights, at a density: magnitude, Taylor, random, and gradual magnitude pruning.

What is removed stays removed. Engines that compute zeros gain nothing from it.
"""

from __future__ import annotations

from duel.task import ArmFunction, Made, Setting, Task
from duel.train import trained
from seam.masks.masks import Masks, apply_masks, density
from seam.masks.unsearched import magnitude_mask, random_mask, taylor_mask

STEPS = 5
"""Of gradual pruning: a pass of training after each but the last."""


def magnitude(task: Task, setting: Setting) -> Made:
    """The largest weights of the whole network."""
    return _at_once(task, setting, magnitude_mask(task.source.network, task.budget.share), 0)


def taylor(task: Task, setting: Setting) -> Made:
    """The weights of the largest |w * dL/dw|, which takes a pass of gradients."""
    masks = taylor_mask(task.source.network, task.head, task.source.preprocess(), task.train, task.budget.share)
    return _at_once(task, setting, masks, 1)


def random(task: Task, setting: Setting) -> Made:
    """Weights drawn at random."""
    return _at_once(task, setting, random_mask(task.source.network, task.budget.share, task.seed), 0)


def gradual(task: Task, setting: Setting) -> Made:
    """The largest weights, fewer after each pass along a cubic curve.

    Source: M. Zhu, S. Gupta, "To Prune, or Not to Prune", 2017, in steps of a pass (*differs*: every
    hundred steps or so), over all layers together.
    """
    model = task.original()
    for step in range(1, STEPS + 1):
        masks = magnitude_mask(model.network, _cubic(step / STEPS, task.budget.share))
        apply_masks(model.network, masks)
        if step < STEPS:
            trained(task, model, setting, 1, masks=masks, schedule="constant", seed=1000 * step + task.seed)
    epochs = trained(task, model, setting, task.passes - (STEPS - 1), masks=masks)
    return Made(model, epochs, task.passes, facts={"density": density(masks), "steps": STEPS})


def _cubic(done: float, final: float) -> float:
    """Density after a share of the steps: from all weights to `final`, fast at first."""
    return final + (1 - final) * (1 - done) ** 3


def _at_once(task: Task, setting: Setting, masks: Masks, spent: int) -> Made:
    model = task.original()
    apply_masks(model.network, masks)
    epochs = trained(task, model, setting, task.passes - spent, masks=masks)
    return Made(model, epochs, task.passes, facts={"density": density(masks)})


ALL: dict[str, tuple[str, ArmFunction]] = {
    "weights-gradual": ("gradual magnitude pruning", gradual),
    "weights-magnitude": ("largest weights", magnitude),
    "weights-taylor": ("Taylor, single weights", taylor),
    "weights-random": ("random weights", random),
}
"""Name of an arm -> its label and function."""
