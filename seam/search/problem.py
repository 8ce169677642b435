"""What is searched, and for what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from seam.data.images import LabelledImages
from seam.search.time_table import TimeTable


@dataclass(frozen=True)
class SearchProblem:
    """A trained network and the target problem whose weights are searched for in it."""

    network: nn.Module
    """The source, eval mode; a search does not change it."""
    preprocess: nn.Module
    """uint8 NHWC images to the network's input."""
    train: LabelledImages
    """To learn from."""
    val: LabelledImages
    """To choose candidates on."""
    num_classes: int
    """Target labels."""
    source_val_accuracy: float
    """Of the unchanged source on `val`."""
    weight_macs: Mapping[str, float] | None = None
    """Parameter name -> multiply-adds of each of its weights for one image; needed for cost
    "macs"."""
    spare: LabelledImages | None = None
    """Further training images of label 1 ("other") of a binary problem; every round then draws as
    many of that label as `train` has, from both."""
    times: TimeTable | None = None
    """Of `network` as it was prepared; needed for cost "milliseconds"."""
