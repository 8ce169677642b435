"""Training of whole models on the target problem.

Fine-tuning, adaptation of head and normalisation layers alone, and training from scratch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seam.configs.networks import SourceConfig
from seam.configs.search import SearchConfig
from seam.configs.training import FinetuneConfig
from seam.data.images import LabelledImages, redrawn
from seam.errors import SourceError, SuspectResultWarning
from seam.masks.masks import Masks, maskable, whole_channels
from seam.networks.head import Reengineered
from seam.networks.norms import norm_parameters
from seam.runtime import Runtime
from seam.training.distillation import distilled, features_of
from seam.training.doubts import doubt_training
from seam.training.loop import Epoch, Loss, TrainingPlan, train
from seam.training.narrow import Narrowed, narrow
from seam.training.removal import Gradual, Held, Removal


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
    spare: LabelledImages | None = None,
    teacher: nn.Module | None = None,
    doubts: bool = True,
) -> list[Epoch]:
    """Fine-tune all weights and the head in place; the epoch with the best val accuracy is kept.

    Source: SeaM section 3.3; the defaults are its published settings (SGD without momentum,
    constant rates). *Differs*: removed weights stay removed unless `config.removed_weights` says else, and the epoch
    is chosen on val, not on test. Channels that nothing reads any more are left out of the training
    (`seam.training.narrow`), which changes nothing but its time.

    Args:
        model: the network and its target head.
        masks: weights that are removed, by name in `model.network`; None: all are kept. Where they leave
            one by one (`config.removed_weights` is "gradual"), `model` has them still, and as many are
            kept as the masks keep, others perhaps.
        preprocess: uint8 NHWC images to the model's input.
        train_data: to learn from.
        val_data: to choose the epoch on.
        config: the numbers; of its `rates`, `seam.training.probe.choose_rate` has to have chosen one.
        runtime: device and precision.
        seed: of shuffling and augmentation.
        checkpoint: see `seam.training.loop.train`.
        key: see `seam.training.loop.train`.
        on_epoch: see `seam.training.loop.train`.
        spare: further negatives of a binary problem; every epoch then draws as many as `train_data`
            has, from both.
        teacher: the source, eval mode; needed where `config.distill` or `config.features` is above 0.
        doubts: whether to warn.

    Raises:
        ValueError: the teacher is needed and not there, or a rate is still to be chosen.
        DivergedError: the loss is not finite.

    Warns:
        SuspectResultWarning: see `seam.training.doubts.doubt_training`; or features are to teach, and
            `seam.training.distillation.features_of` finds none, so the rest of the loss does.
    """
    if (config.distill or config.features) and teacher is None:
        raise ValueError(
            f"distill {config.distill:g} and features {config.features:g}: expected a teacher where one is above 0,"
            " got none"
        )
    if config.rates:
        raise ValueError(f"rates {list(config.rates)}: expected one of them as lr, and no rates any more")
    whole, held = model.to(runtime.device), _gone(masks, config)
    train_data = train_data.to(runtime.device)
    example = preprocess.to(runtime.device)(train_data.images[:2])
    narrowed = narrow(whole.network, held, example) if held else None
    if narrowed is not None:
        model, held, key = Reengineered(narrowed.network, whole.head), narrowed.masks, f"{key} narrowed"
    held = {name: mask.to(runtime.device) for name, mask in held.items()}
    loss_of = None if teacher is None else _taught(model, teacher.to(runtime.device), example, config, narrowed, doubts)
    model.requires_grad_(True)
    removal = _removal(model.network, held, masks, config)
    groups = [
        {"params": list(model.network.parameters()), "lr": config.lr},
        {"params": list(model.head.parameters()), "lr": config.lr_head},
    ]
    optimizer = torch.optim.SGD(
        groups, momentum=config.momentum, nesterov=config.momentum > 0, weight_decay=config.weight_decay
    )
    plan = TrainingPlan(
        config.epochs, config.batch_size, config.augment, seed, cosine=config.schedule == "cosine", keep_best=True
    )
    history = train(
        model,
        optimizer,
        preprocess,
        train_data,
        val_data,
        plan,
        runtime,
        removal=removal,
        checkpoint=checkpoint,
        key=key,
        on_epoch=on_epoch,
        negatives=redrawn(train_data, spare),
        loss_of=loss_of,
    )
    if removal is not None and not config.epochs:
        removal.before_step(0, 1.0)
    if narrowed is not None:
        narrowed.restore(whole.network)
    whole.eval().requires_grad_(False)
    if doubts:
        doubt_training("fine-tuning", history, whole.head.linear.out_features)
    return history


def _gone(masks: Masks | None, config: FinetuneConfig) -> Masks:
    """What is zero from the start: where weights leave one by one, whole channels alone."""
    if masks is None or config.removed_weights == "regrow":
        return {}
    return whole_channels(masks) if config.removed_weights == "gradual" else masks


def _removal(network: nn.Module, held: Masks, masks: Masks | None, config: FinetuneConfig) -> Removal | None:
    if masks is None or config.removed_weights != "gradual":
        return Held(network, held) if held else None
    layers = maskable(network)
    others = dict(network.named_parameters()).keys() - layers.keys()  # they lose whole channels alone
    kept = sum(int(mask.sum()) for name, mask in masks.items() if name not in others)
    return Gradual(network, held, [name for name in masks if name in layers], kept)


def _taught(
    model: Reengineered,
    teacher: nn.Module,
    example: Tensor,
    config: FinetuneConfig,
    narrowed: Narrowed | None,
    doubts: bool,
) -> Loss | None:
    """The loss where a teacher adds to it; without the features, and a doubt, where they cannot be had."""
    features = None
    if config.features:
        try:
            features = features_of(
                model.network,
                teacher,
                example,
                config.features,
                config.feature_stages,
                narrowed=narrowed,
                logits=config.distill > 0,
            )
        except SourceError as e:
            if doubts:
                told = f"{e.what}: fine-tuning went on without them"
                warnings.warn(SuspectResultWarning(told, hint=e.hint), stacklevel=2)
    return distilled(model, teacher, config.distill, features) if config.distill or features else None


def adapt(
    model: Reengineered,
    preprocess: nn.Module,
    train_data: LabelledImages,
    val_data: LabelledImages,
    epochs: int,
    config: SearchConfig,
    runtime: Runtime,
    seed: int,
) -> None:
    """Train head and normalisation layers in place, at the search's rates, which decay to 0; every other weight stays.

    This is what a mask's model gets beside the mask: with it, masks that no search found are
    compared with one that was.

    Args:
        model: the network, masked or not, and its target head.
        preprocess: uint8 NHWC images to the model's input.
        train_data: to learn from.
        val_data: measured on, for nothing but the loop's history.
        epochs: passes over `train_data`.
        config: rates, batch size and augmentation.
        runtime: device and precision.
        seed: of shuffling and augmentation.
    """
    head, norms = list(model.head.parameters()), norm_parameters(model.network)
    for parameter in (*head, *norms):
        parameter.requires_grad_()
    groups = [{"params": head, "lr": config.lr_head}, {"params": norms, "lr": config.lr_norms}]
    plan = TrainingPlan(epochs, config.batch_size, config.augment, seed, cosine=True, keep_best=False)
    train(model, torch.optim.Adam(groups), preprocess, train_data, val_data, plan, runtime)
    model.requires_grad_(False)


def train_from_scratch(
    network: nn.Module,
    preprocess: nn.Module,
    train_data: LabelledImages,
    val_data: LabelledImages,
    config: SourceConfig,
    runtime: Runtime,
    seed: int,
    **resume: Any,
) -> list[Epoch]:
    """Train all weights in place: SGD with Nesterov momentum, a warm-up, then a cosine to 0; the last epoch is kept.

    Args:
        network: with fresh weights; maps normalised images to logits.
        preprocess: uint8 NHWC images to the network's input.
        train_data: to learn from.
        val_data: to measure on after every epoch.
        config: epochs, rate, batch size, weight decay and augmentation.
        runtime: device and precision.
        seed: of shuffling and augmentation.
        resume: checkpoint, key and on_epoch of `seam.training.loop.train`.
    """
    optimizer = torch.optim.SGD(
        network.parameters(), lr=config.lr, momentum=0.9, nesterov=True, weight_decay=config.weight_decay
    )
    plan = TrainingPlan(config.epochs, config.batch_size, config.augment, seed, cosine=True, keep_best=False)
    return train(network, optimizer, preprocess, train_data, val_data, plan, runtime, **resume)
