"""How images as stored reach the network's input: as given, or by common numbers that suit it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from seam.data.images import LabelledImages
from seam.data.statistics import channel_statistics
from seam.door.arguments import Wanted
from seam.door.asked import Images, classes_of, outputs_of
from seam.errors import DataError, SourceError
from seam.networks.predict import predict
from seam.networks.source import Preprocess, channels_taken, per_channel

_TRIED_ON = 512
"""Images that a normalisation is chosen on."""


def as_taken(network: nn.Module, images: Images, class_names: Sequence[str] | None, wanted: Wanted) -> Images:
    """Images of the network's own classes as it takes them; it gives their scores alone from now on.

    Args:
        network: in eval mode; changed in place where its class scores are one of several outputs.
        images: as they were read.
        class_names: of its outputs, in their order; None: those of the images.
        wanted: mean and std.

    Raises:
        DataError: the classes are not the network's, or see `normalised`.
        SourceError: the network does not take such images, or gives no finite class scores.
    """
    names = class_names or images.train.classes
    outputs = outputs_of(network, normalised(network, images, wanted, on_val=False), names)
    return normalised(network, classes_of(images, class_names, outputs), wanted, on_val=True)


def normalised(network: nn.Module, images: Images, wanted: Wanted, *, on_val: bool) -> Images:
    """The same with what brings its images to the network's input.

    Images of a loader are taken as they are. Images as stored are normalised by the numbers given;
    without any, by common ones.

    Args:
        network: that they are for.
        images: of which grey ones are repeated to the channels that it takes.
        wanted: mean and std.
        on_val: whether the labels are the network's, so that those common numbers are taken at which its
            cross-entropy on val is lowest; otherwise the first.

    Raises:
        DataError: mean or std alone, neither one value nor one for each channel, or given for images of
            a loader.
    """
    if (wanted.mean is None) != (wanted.std is None):
        raise DataError("mean and std: expected both or neither, got one alone.")
    if not images.train.as_stored:
        if wanted.mean is not None:
            raise DataError("mean and std: expected none for images that are float already; normalise in the loader.")
        return replace(images, normalisation="as the images come")
    channels = channels_taken(network, images.train.data.images.shape[1:])
    if wanted.mean is not None and wanted.std is not None:
        mean, std = _numbers(wanted.mean, channels), _numbers(wanted.std, channels)
        if not all(0 <= value <= 1 for value in mean) or not all(0 < value < float("inf") for value in std):
            raise DataError(
                f"mean and std: expected means in [0, 1] and deviations above 0, of pixels in [0, 1], got {mean} and"
                f" {std}; divide those of pixels in 0..255 by 255."
            )
        return replace(images, preprocess=Preprocess(mean, std), normalisation="as given")
    common = _common(images, channels)
    if not on_val:
        first = next(iter(common))
        return replace(images, preprocess=Preprocess(*common[first]), normalisation=first)
    few = images.val.rows(torch.arange(len(images.val.data))[:: max(1, len(images.val.data) // _TRIED_ON)])
    losses = {name: _loss(network, few, Preprocess(*numbers)) for name, numbers in common.items()}
    best = min(losses, key=lambda name: losses[name])
    text = f"{best} (mean {common[best][0]}, std {common[best][1]}), the best of {len(common)} on val"
    return replace(images, preprocess=Preprocess(*common[best]), normalisation=text)


def _numbers(given: Any, channels: int) -> tuple[float, ...]:
    """One for each channel, of what is given for all or for each."""
    try:
        values = [float(value) for value in (np.ravel(given) if np.ndim(given) < 2 else ())]
        return per_channel(values, channels)
    except SourceError as e:
        raise DataError(f"mean and std: {e.what}") from e
    except (TypeError, ValueError) as e:
        raise DataError(f"mean and std: expected numbers, got {given!r}; give one, or one a channel.") from e


def _common(images: Images, channels: int) -> dict[str, tuple[tuple[float, ...], tuple[float, ...]]]:
    some = images.train.data.images[slice(4 * _TRIED_ON)].numpy()
    mean, std = (per_channel(np.round(values, 4).tolist(), channels) for values in channel_statistics(some))
    imagenet = {"ImageNet's": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))} if channels == 3 else {}
    return {
        **imagenet,
        "the training images' own": (mean, tuple(max(value, 1e-3) for value in std)),
        "-1 to 1": ((0.5,) * channels, (0.5,) * channels),
        "0 to 1": ((0.0,) * channels, (1.0,) * channels),
    }


def _loss(network: nn.Module, data: LabelledImages, preprocess: nn.Module) -> float:
    loss = float(F.cross_entropy(predict(network, data, preprocess), data.labels))
    return loss if np.isfinite(loss) else float("inf")
