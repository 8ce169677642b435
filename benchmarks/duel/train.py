"""The one training that all arms get: the product's fine-tuning, with a loss and a rate that are chosen on val."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from duel.task import Setting, Task
from seam.configs.training import FinetuneConfig
from seam.data.images import LabelledImages
from seam.masks.masks import Masks
from seam.networks.head import Reengineered
from seam.training.finetune import finetune
from seam.training.loop import Epoch

LOSSES: dict[str, Mapping[str, Any]] = {
    "cross-entropy": {},
    "logits": {"distill": 1.0},
    "features": {"features": 16.0},
}
"""Name -> fields of `FinetuneConfig` that make the loss."""
RATES = (0.015, 0.05, 0.12)
"""Peak rates that every arm's best is chosen from."""
MAIN_RATES = RATES[1:]
"""Where nothing is said."""
_PLAN: Mapping[str, Any] = {"momentum": 0.9, "weight_decay": 5e-4, "batch_size": 64, "augment": "crop_flip"}


def available(loss: str) -> bool:
    """Whether the product's fine-tuning has what this loss needs."""
    return LOSSES[loss].keys() <= {f.name for f in fields(FinetuneConfig)}


def config_of(setting: Setting, passes: int, schedule: str = "cosine", removed_weights: str = "zero") -> FinetuneConfig:
    """The product's configuration of one training: a warm-up for a tenth of it and a cosine, or constant rates."""
    return FinetuneConfig(
        epochs=passes,
        lr=setting.rate,
        lr_head=setting.rate,
        schedule=schedule,
        removed_weights=removed_weights,
        **_PLAN,
        **LOSSES[setting.loss],
    )


def trained(
    task: Task,
    model: Reengineered,
    setting: Setting,
    passes: int,
    *,
    masks: Masks | None = None,
    schedule: str = "cosine",
    data: LabelledImages | None = None,
    seed: int | None = None,
    removed_weights: str = "zero",
) -> list[Epoch]:
    """Train in place, on the runtime's device; the pass with the best val accuracy is kept, and all is left on the CPU.

    Args:
        task: whose images are learned from, and whose source teaches where the loss has a teacher.
        model: already pruned, or whole with `masks`.
        setting: loss and rate.
        passes: over the training images.
        masks: weights that are zero and stay so; None: all learn.
        schedule: "cosine" or "constant".
        data: other images than `task.train`.
        seed: other than the task's.
        removed_weights: of `FinetuneConfig`.
    """
    config = config_of(setting, passes, schedule, removed_weights)
    epochs = finetune(
        model,
        masks,
        task.source.preprocess(),
        task.train if data is None else data,
        task.val,
        config,
        task.runtime,
        task.seed if seed is None else seed,
        spare=task.spare,
        teacher=task.teacher() if setting.loss != "cross-entropy" else None,
    )
    model.cpu()
    return epochs
