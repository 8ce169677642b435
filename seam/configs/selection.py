"""Numbers of choosing among trained networks."""

from __future__ import annotations

from typing import Annotated, Literal

from seam.configs.check import Ge, config

EstimateName = Literal["probe", "probe_likelihood", "leep", "nleep"]
"""An estimate that is a mean over images, so that the certainty of an order by it can be told."""


@config
class SelectConfig:
    """How trained networks are ranked for images before anything is trained."""

    images: Annotated[int, Ge(20)] = 1000
    """Training images that are looked at, at most; drawn so that each class keeps its share."""
    by: EstimateName = "probe_likelihood"
    """The estimate that the networks are ordered by; all are in the table."""
    folds: Annotated[int, Ge(2)] = 5
    """Of the linear probe."""
    resamples: Annotated[int, Ge(100)] = 2000
    """Draws of the images, which say how sure the order is."""
    milliseconds: bool = True
    """Whether to time each network, through ONNX, on the engine of the profile."""
    attacked: Annotated[int, Ge(0)] = 64
    """Images whose features are attacked, to see what a student would inherit, a quarter of all at
    most; 0: none."""
    attack_steps: Annotated[int, Ge(1)] = 10
    """Steps of that attack, each of a quarter of its budget at 10 steps, less at more."""
