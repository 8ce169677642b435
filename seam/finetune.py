"""Fine-tuning on the target problem: of the re-engineered model, and of the original as baseline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from seam.batches import LabelledImages
from seam.configs import FinetuneConfig
from seam.head import Reengineered
from seam.masks import Masks, apply_masks
from seam.runtime import Runtime
from seam.training import Epoch, TrainingPlan, train


def finetune(
    model: Reengineered,
    masks: Masks | None,
    preprocess: nn.Module,
    train_data: LabelledImages,
    val_data: LabelledImages,
    config: FinetuneConfig,
    runtime: Runtime,
    seed: int,
    *,
    checkpoint: Path | None = None,
    key: str = "",
    on_epoch: Callable[[Epoch], None] | None = None,
) -> list[Epoch]:
    """Fine-tune all weights and the head in place; the epoch with the best val accuracy is kept.

    Source: SeaM section 3.3 and its published settings (SGD without momentum, constant rates). *Differs*: removed weights
    stay removed unless `config.regrow`, and the epoch is chosen on val, not on test.

    Args:
        model: the network and its target head.
        masks: weights that are removed, by name in `model.network`; None: all are kept.
        preprocess: uint8 NHWC images to the model's input.
        train_data: to learn from.
        val_data: to choose the epoch on.
        config: the numbers.
        runtime: device and precision.
        seed: of shuffling and augmentation.
        checkpoint: see `seam.training.train`.
        key: see `seam.training.train`.
        on_epoch: see `seam.training.train`.
    """
    model.to(runtime.device).requires_grad_(True)
    held = None if masks is None or config.regrow else {k: m.to(runtime.device) for k, m in masks.items()}
    groups = [{"params": list(model.network.parameters()), "lr": config.lr}, {"params": list(model.head.parameters()), "lr": config.lr_head}]
    optimizer = torch.optim.SGD(groups, weight_decay=config.weight_decay)
    plan = TrainingPlan(config.epochs, config.batch_size, config.augment, seed, cosine=False, keep_best=True)
    history = train(
        model,
        optimizer,
        preprocess,
        train_data,
        val_data,
        plan,
        runtime,
        after_step=None if held is None else lambda: apply_masks(model.network, held),
        checkpoint=checkpoint,
        key=key,
        on_epoch=on_epoch,
    )
    model.requires_grad_(False)
    return history
