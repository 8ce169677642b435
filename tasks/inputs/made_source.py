"""A source as parameters say: a checkpoint, checked by what it scores, or a training here (validation held out)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from seam.checkpoint import digest_of
from seam.configs.networks import SourceConfig
from seam.data.images import LabelledImages, images_of
from seam.data.prepared import ImageArray, ImageData, load_prepared
from seam.data.splits import DataSplit
from seam.data.statistics import channel_statistics
from seam.errors import SourceError, SuspectResultWarning
from seam.files import sha256_file
from seam.hardware import in_words
from seam.networks.build import build
from seam.networks.plain import load_either_form, plain
from seam.networks.predict import accuracy, predict
from seam.networks.scores import give_scores
from seam.networks.source import Preprocess, SourceInfo, channels_taken, per_channel
from seam.runtime import Runtime, start
from seam.training.finetune import train_from_scratch
from seam.training.loop import Epoch
from tasks.inputs.check_up import checked
from tasks.inputs.checkpoint import digests_of_files, fetch_checkpoint
from tasks.inputs.splits import problem_split
from tasks.project.stage import StageContext, collect_warnings

MOST_OFF = 0.01
"""How far a checkpoint's accuracy may be from prepare_source.expected_accuracy."""


@dataclass(frozen=True)
class _State:
    """Where a training keeps its state, and the images it is of."""

    checkpoint: Path
    dataset_sha256: str


@dataclass(frozen=True)
class Made:
    """A source that is not written yet."""

    network: nn.Module
    info: SourceInfo
    history: Sequence[Epoch]
    """Of its training; empty where it was given."""


def made_source(context: StageContext, dataset: Path, folder: Path) -> Made:
    """Load or train the network that `prepare_source` in the parameters of `context` says, and measure it.

    Args:
        context: of the stage that wants it.
        dataset: dataset.safetensors of its images.
        folder: where a training keeps its state, so that one that was killed continues.

    Raises:
        SourceError: a checkpoint that cannot be had or does not fit, or does not score what it
            should on this data.
    """
    config = context.params.prepare_source
    data = load_prepared(dataset)
    split = problem_split(context.params, data)
    train_data, val_data = images_of(data, "train", split.train), images_of(data, split.val_split, split.val)
    height, width, _ = data.image_shape
    runtime = start(context.params.runtime, height * width)
    torch.manual_seed(context.params.seed)
    with collect_warnings(context) as doubts:
        network = _built(config.architecture, len(data.classes))
        mean, std = _normalisation(config, data.x_train, channels_taken(network, data.image_shape))
        preprocess = Preprocess(mean, std)
        examples = preprocess(train_data.images[:3])
        checked(network, examples, len(data.classes), f"architecture '{config.architecture}'")
        give_scores(network, examples, len(data.classes))
        if config.checkpoint is None:
            state = _State(folder / "checkpoint.safetensors", sha256_file(dataset))
            history = _train(context, network, preprocess, train_data, val_data, runtime, state)
            fetched_from = None
        else:
            history, fetched_from = [], _load(context, network, config, examples)
        plain(network.cpu(), examples)
        score = partial(_accuracy, network, preprocess, runtime)
        val_accuracy = score(val_data)
        _doubt(val_accuracy, val_data, len(data.classes))
        test_accuracy = None if config.checkpoint is None else _checked_on_test(config, score, data, split)
    info = SourceInfo(
        architecture=config.architecture,
        num_classes=len(data.classes),
        classes=data.classes,
        mean=mean,
        std=std,
        image_shape=data.image_shape,
        val_accuracy=val_accuracy,
        trained_here=config.checkpoint is None,
        params_total=sum(p.numel() for p in network.parameters()),
        files=digests_of_files(config.architecture, config.checkpoint, context.root),
        warnings=tuple(doubts),
        test_accuracy=test_accuracy,
        fetched_from=fetched_from,
        computed_on=in_words(),
    )
    return Made(network.cpu(), info, history)


def _normalisation(
    config: SourceConfig, images: ImageArray, channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std, a value for each channel; those of the training images unless given."""
    mean, std = config.mean, config.std
    if mean is None or std is None:
        mean, std = (np.round(values, 6).tolist() for values in channel_statistics(images))
    try:
        return per_channel(mean, channels), per_channel(std, channels)
    except SourceError as e:
        raise SourceError(f"prepare_source.mean, std: {e.what}") from e


def _built(architecture: str, num_classes: int) -> nn.Module:
    """A new network, in eval mode; a SourceError where it has no weights."""
    network = build(architecture, num_classes).eval()
    if not list(network.parameters()):
        raise SourceError(
            f"architecture '{architecture}': expected a network with weights, got one without any; there is nothing to"
            " search."
        )
    return network


def _load(context: StageContext, network: nn.Module, config: SourceConfig, examples: torch.Tensor) -> str | None:
    """Load the checkpoint into `network`; returns where it was fetched from, None if it is a file."""
    assert config.checkpoint is not None
    context.progress(0.0, f"checkpoint {config.checkpoint}")
    found = fetch_checkpoint(config.checkpoint, config.architecture, context.root, config.sha256)
    where = found.fetched_from or str(context.root / config.checkpoint)
    load_either_form(network, found.tensors, where, examples, config.weights)
    return found.fetched_from


def _accuracy(network: nn.Module, preprocess: nn.Module, runtime: Runtime, data: LabelledImages) -> float:
    on_device = data.to(runtime.device)
    logits = predict(network.to(runtime.device).eval(), on_device, preprocess.to(runtime.device))
    return accuracy(logits, on_device.labels)


def _checked_on_test(
    config: SourceConfig, score: Callable[[LabelledImages], float], data: ImageData, split: DataSplit
) -> float:
    """Accuracy of a given checkpoint on the test split.

    A SourceError unless it scores what it should on all test images of the data set, those that val
    was carved out of included: a known accuracy is over all of them.
    """
    every = images_of(data, "test", np.arange(len(data.y_test)))
    found = score(every)
    _check_accuracy(config, found, every, len(data.classes))
    return score(images_of(data, "test", split.test)) if split.val_from == "test" else found


def _train(
    context: StageContext,
    network: nn.Module,
    preprocess: nn.Module,
    train_data: LabelledImages,
    val_data: LabelledImages,
    runtime: Runtime,
    state: _State,
) -> list[Epoch]:
    config = context.params.prepare_source
    key = digest_of(
        asdict(config), context.params.seed, repr(runtime), asdict(context.params.split_dataset), state.dataset_sha256
    )
    with tqdm(total=config.epochs, desc="train source", unit="epoch", disable=None) as bar:

        def on_epoch(epoch: Epoch) -> None:
            bar.update(epoch.epoch - bar.n)
            bar.set_postfix(loss=f"{epoch.loss:.3f}", val=f"{epoch.val_accuracy:.3f}")
            context.progress(
                epoch.epoch / config.epochs,
                f"epoch {epoch.epoch}/{config.epochs}, val accuracy {epoch.val_accuracy:.3f}",
            )

        seed = context.params.seed
        return train_from_scratch(
            network,
            preprocess,
            train_data,
            val_data,
            config,
            runtime,
            seed,
            checkpoint=state.checkpoint,
            key=key,
            on_epoch=on_epoch,
        )


def _doubt(val_accuracy: float, val_data: LabelledImages, num_classes: int) -> None:
    if _is_near_chance(val_accuracy, chance := _chance(val_data, num_classes)):
        warnings.warn(
            f"the source is near chance: accuracy {val_accuracy:.3f} on val, always answering one class scores"
            f" {chance:.3f}; check the order of the classes and the normalisation (prepare_source.mean, std).",
            SuspectResultWarning,
            stacklevel=2,
        )


def _check_accuracy(config: SourceConfig, found: float, test_data: LabelledImages, num_classes: int) -> None:
    """Raise a SourceError unless a given checkpoint scores what it should on the test images."""
    causes = "the usual causes are a wrong normalisation (prepare_source.mean, std) and another order of the classes"
    expected = config.expected_accuracy
    if expected is not None and abs(found - expected) > MOST_OFF + 1e-9:
        raise SourceError(
            f"{config.checkpoint}: expected accuracy {expected:.3f} on the {len(test_data)} test images"
            f" (prepare_source.expected_accuracy), got {found:.3f}; {causes}."
        )
    if expected is None and _is_near_chance(found, chance := _chance(test_data, num_classes)):
        raise SourceError(
            f"{config.checkpoint}: expected a network trained for these classes, got one near chance: accuracy"
            f" {found:.3f} on the {len(test_data)} test images, always answering one class scores {chance:.3f};"
            f" {causes}. If it is as good as it gets, say so: prepare_source.expected_accuracy."
        )


def _chance(data: LabelledImages, num_classes: int) -> float:
    """Accuracy of always answering the commonest class."""
    return float(torch.bincount(data.labels, minlength=num_classes).max()) / len(data)


def _is_near_chance(found: float, chance: float) -> bool:
    """At most twice chance, and, where one class is the most of the data, at most halfway from chance to perfect."""
    return found <= min(2 * chance, (1 + chance) / 2)
