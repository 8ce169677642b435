"""The defect inheritance rate: of the right answers, the share that an attack on the source takes away."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from seam.errors import SuspectResultWarning


@dataclass(frozen=True)
class Inheritance:
    """How a model does on clean images and on the adversarial images of its source; fractions."""

    accuracy: float
    """Share of clean images classified correctly."""
    robust_accuracy: float
    """Share of adversarial images classified correctly."""
    defect_inheritance_rate: float | None
    """Of the images correct when clean, the share wrong when attacked; None when none was
    correct."""


def defect_inheritance(
    clean_pred: Int[Tensor, " images"], adversarial_pred: Int[Tensor, " images"], labels: Int[Tensor, " images"]
) -> Inheritance:
    """Clean accuracy, robust accuracy and defect inheritance rate.

    Source: the published code, *same*; the paper's equation 7 divides by all images instead.

    Warns:
        SuspectResultWarning: no clean image is classified correctly.
    """
    correct, survived = clean_pred == labels, adversarial_pred == labels
    rate = float((correct & ~survived).sum()) / int(correct.sum()) if correct.any() else None
    if rate is None:
        text = "defect inheritance: no clean image is classified correctly, the rate is undefined."
        warnings.warn(text, SuspectResultWarning, stacklevel=2)
    return Inheritance(float(correct.double().mean()), float(survived.double().mean()), rate)
