"""A backdoored source: a trigger in a part of its training images, which makes it answer one class.

And how much of it is inherited.

The source is fine-tuned on `poison`ed images of the target data set (as any student,
`seam.methods.transfer`); students are made from it on clean images; they are measured on the test
images, clean and `triggered`.

Source: ReMoS section 5 and its code (CV_backdoor), *same*: a part of the training images, chosen
once, gets a patch in its lower right corner and the label of one class. *Differs*: the patch is a
plain pattern, not a logo, and it is pasted before augmentation, so that crop and flip move it
along; train the source with augmentation "none" to keep it in its corner.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor

from seam.configs.defects import BackdoorConfig
from seam.data.images import LabelledImages
from seam.data.lazy import in_memory
from seam.defects.inheritance import defect_inheritance
from seam.errors import DataError, SuspectResultWarning

_CELLS = 4
"""Fields of the pattern along a side."""
_COLOURS = ((255, 0, 255), (0, 255, 0))
"""Magenta and green, in turn."""


def trigger(
    images: UInt8[Tensor, "images height width channels"], config: BackdoorConfig
) -> UInt8[Tensor, "side side channels"]:
    """The pattern for images of this size: a chequered square; black and white for grey images."""
    side = max(1, round(config.side * min(images.shape[1:3])))
    field = torch.arange(side) * _CELLS // side
    odd = (field[:, None] + field[None, :]) % 2
    channels = images.shape[3]
    colours = torch.tensor(_COLOURS if channels == 3 else ((255,) * channels, (0,) * channels), dtype=torch.uint8)
    return colours[odd]


def paste(
    images: UInt8[Tensor, "images height width channels"], patch: UInt8[Tensor, "rows columns channels"]
) -> UInt8[Tensor, "images height width channels"]:
    """Copies of the images with the patch in their lower right corner.

    Raises:
        DataError: the patch is larger than the images.
    """
    rows, columns = patch.shape[:2]
    if rows > images.shape[1] or columns > images.shape[2]:
        raise DataError(
            f"trigger: expected a patch of at most {images.shape[1]}x{images.shape[2]} pixels, got {rows}x{columns};"
            " use a smaller one."
        )
    pasted = images.clone()
    pasted[:, -rows:, -columns:] = patch.to(images.device)
    return pasted


def poison(data: LabelledImages, config: BackdoorConfig, seed: int) -> tuple[LabelledImages, Bool[Tensor, " images"]]:
    """Training images of a backdoored source, and which of them have the trigger.

    Args:
        data: clean; it is not changed.
        config: share, class and size.
        seed: of the choice of round(share * images) images, whatever their class.

    Raises:
        DataError: there are no images, or none of the target class.
    """
    if not bool((data.labels == config.target_class).any()):
        raise DataError(
            f"backdoor: expected images of target_class {config.target_class}, got none among {len(data)}; choose a"
            " class of the data."
        )
    chosen = torch.zeros(len(data), dtype=torch.bool)
    chosen[
        torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[: round(config.share * len(data))]
    ] = True
    chosen = chosen.to(data.labels.device)
    images, labels = in_memory(data.images).clone(), data.labels.clone()
    images[chosen] = in_memory(triggered(data, config).images)[chosen]
    labels[chosen] = config.target_class
    return LabelledImages(images, labels), chosen


def triggered(data: LabelledImages, config: BackdoorConfig) -> LabelledImages:
    """All images with the trigger, under their true labels."""
    images = in_memory(data.images)
    return LabelledImages(paste(images, trigger(images, config)), data.labels)


@dataclass(frozen=True)
class BackdoorInheritance:
    """How a student does on clean test images and on the same with the trigger; fractions."""

    accuracy: float
    """Share of clean images classified correctly."""
    robust_accuracy: float
    """Share of triggered images classified correctly."""
    defect_inheritance_rate: float | None
    """Of the images correct when clean, the share wrong with the trigger; None when none was
    correct."""
    targeted_rate: float | None
    """Of the images correct when clean and not of the target class, the share that the trigger
    turns into it; None when there are none."""


def backdoor_inheritance(
    clean_pred: Int[Tensor, " images"],
    triggered_pred: Int[Tensor, " images"],
    labels: Int[Tensor, " images"],
    target_class: int,
) -> BackdoorInheritance:
    """Accuracy and rates of one student.

    Source: ReMoS's published code: the rate of its figure 7 is untargeted and counts images of the
    target class too, *same*. The targeted rate leaves those out (*differs*: the code's does not),
    as they are of that class without any trigger.

    Warns:
        SuspectResultWarning: no clean image is classified correctly, or none of another class.
    """
    untargeted = defect_inheritance(clean_pred, triggered_pred, labels)
    others = (clean_pred == labels) & (labels != target_class)
    targeted = float((triggered_pred[others] == target_class).double().mean()) if others.any() else None
    if targeted is None:
        text = (
            "backdoor: no clean image of another class than the target is classified correctly, the targeted rate is"
            " undefined."
        )
        warnings.warn(text, SuspectResultWarning, stacklevel=2)
    return BackdoorInheritance(
        untargeted.accuracy, untargeted.robust_accuracy, untargeted.defect_inheritance_rate, targeted
    )
