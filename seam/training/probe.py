"""Short trainings of a copy, to choose by what they give on val: learning rates here, layouts in a search."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import nn

from seam.checkpoint import digest_of
from seam.configs.training import FinetuneConfig
from seam.data.images import LabelledImages
from seam.errors import DivergedError, SuspectResultWarning
from seam.masks.masks import Masks, apply_masks
from seam.networks.head import Reengineered
from seam.runtime import Runtime
from seam.training.finetune import finetune
from seam.training.loop import Epoch


@dataclass(frozen=True)
class Probe:
    """A rate, and what the model is on val after a short training at it."""

    lr: float
    """Of the network, at its peak."""
    val_accuracy: float | None
    """None: the loss was not finite."""
    val_cross_entropy: float | None
    """None: it, or the loss, was not finite."""


@dataclass(frozen=True)
class Chosen:
    """The numbers of a fine-tuning with the rate that won."""

    config: FinetuneConfig
    """Without rates to choose from."""
    probes: tuple[Probe, ...]
    """In the order of the rates; none where there was nothing to choose."""


def probe(
    model: Reengineered,
    masks: Masks | None,
    preprocess: nn.Module,
    train_data: LabelledImages,
    val_data: LabelledImages,
    config: FinetuneConfig,
    epochs: int,
    runtime: Runtime,
    seed: int,
    *,
    checkpoint: Path | None = None,
    key: str = "",
    spare: LabelledImages | None = None,
    teacher: nn.Module | None = None,
) -> Epoch:
    """Train a copy for a short while, at rates that warm up and fall to 0 within it; the last epoch, measured on val.

    Args:
        model: is not changed.
        masks: weights that are removed, by name in `model.network`, in the copy at the latest.
        preprocess: uint8 NHWC images to the model's input.
        train_data: to learn from.
        val_data: to measure on.
        config: of the fine-tuning that this is a short one of; `lr` and `lr_head` are the peaks.
        epochs: how many.
        runtime: device and precision.
        seed: of shuffling and augmentation.
        checkpoint: a killed one continues from it to the same result.
        key: digest of everything that it depends on but for its numbers, see `seam.checkpoint`.
        spare: see `seam.training.finetune.finetune`.
        teacher: see `seam.training.finetune.finetune`.

    Raises:
        DivergedError: the loss is not finite.
        ValueError, SourceError: see `seam.training.finetune.finetune`.
    """
    brief = replace(config, epochs=epochs, schedule="cosine", rates=())
    trained = copy.deepcopy(model)
    if masks is not None and config.removed_weights != "gradual":
        apply_masks(trained.network, masks)
    history = finetune(
        trained,
        masks,
        preprocess,
        train_data,
        val_data,
        brief,
        runtime,
        seed,
        checkpoint=checkpoint,
        key=digest_of(key, asdict(brief)),
        spare=spare,
        teacher=teacher,
        doubts=False,
    )
    return history[-1]


def choose_rate(
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
    on_probe: Callable[[Probe], None] | None = None,
    spare: LabelledImages | None = None,
    teacher: nn.Module | None = None,
) -> Chosen:
    """The rate of `config.rates` with which a short training from here gives the lowest cross-entropy on val.

    Each is tried by a `probe` of `config.probe_epochs` epochs; the first of equals wins, and one whose
    loss is not finite loses. These epochs come on top of `config.epochs`.

    Args:
        model: is not changed.
        masks: see `probe`.
        preprocess: see `probe`.
        train_data: see `probe`.
        val_data: see `probe`.
        config: the head's rate keeps its ratio to the network's.
        runtime: see `probe`.
        seed: see `probe`.
        checkpoint: of the training that follows; those of the probes lie beside it, their names with
            "rate-<rate>-" before. A killed choice continues to the same result.
        key: digest of everything the training depends on, see `seam.checkpoint`.
        on_probe: called after every probe.
        spare: see `seam.training.finetune.finetune`.
        teacher: see `seam.training.finetune.finetune`.

    Returns:
        What to fine-tune with: `config` itself where it has no rates; where it has one, that one untried.

    Raises:
        DivergedError: no rate has a finite loss.
        ValueError, SourceError: see `seam.training.finetune.finetune`.

    Warns:
        SuspectResultWarning: the winner is the lowest or the highest of the rates.
    """
    probes: list[Probe] = []
    for rate in config.rates if len(config.rates) > 1 else ():
        path = checkpoint and checkpoint.with_name(f"rate-{rate}-{checkpoint.name}")
        try:
            last: Epoch | None = probe(
                model,
                masks,
                preprocess,
                train_data,
                val_data,
                at_rate(config, rate),
                config.probe_epochs,
                runtime,
                seed,
                checkpoint=path,
                key=key,
                spare=spare,
                teacher=teacher,
            )
        except DivergedError:
            last = None
        probes.append(_probed(rate, last))
        if on_probe is not None:
            on_probe(probes[-1])
    return _choice(config, probes)


def at_rate(config: FinetuneConfig, rate: float) -> FinetuneConfig:
    """The same with this rate, the head's in proportion, and nothing left to choose."""
    return replace(config, lr=rate, lr_head=config.lr_head * (rate / config.lr), rates=())


def _probed(rate: float, last: Epoch | None) -> Probe:
    if last is None:
        return Probe(rate, None, None)
    loss = last.val_cross_entropy
    return Probe(rate, last.val_accuracy, loss if loss is not None and math.isfinite(loss) else None)


def _choice(config: FinetuneConfig, probes: Sequence[Probe]) -> Chosen:
    if not probes:
        return Chosen(at_rate(config, config.rates[0]) if config.rates else config, ())
    losses = {p.lr: p.val_cross_entropy for p in probes if p.val_cross_entropy is not None}
    if not losses:
        tried = ", ".join(f"{p.lr:g}" for p in probes)
        raise DivergedError(
            f"fine-tuning: expected a finite loss at one of the rates {tried}, got none", hint="more_rates"
        )
    best = min(losses, key=lambda rate: losses[rate])
    for end, is_end in (("lowest", best == min(config.rates)), ("highest", best == max(config.rates))):
        if is_end:
            text = f"the best of {len(probes)} rates is the {end}, {best:g}: the list may end too early"
            warnings.warn(SuspectResultWarning(text, hint="more_rates"), stacklevel=3)
    return Chosen(at_rate(config, best), tuple(probes))
