"""Sections of `params.yaml` that the library has no use for."""

from __future__ import annotations

from typing import Annotated

from seam.configs.check import Ge, config
from tasks.project.measured import Registrable


@config
class EvaluateConfig:
    """What the re-engineered model is compared with on the test images."""

    adapt_epochs: Annotated[int, Ge(0)] = 10
    """Epochs that head and normalisation layers of every compared mask get, at the search's rates;
    0: a fitted head alone."""
    retrain_epochs: Annotated[int, Ge(0)] = 20
    """Epochs of a network of the same architecture trained from scratch on the target problem, at
    the source's rates; 0: leave it out."""


@config
class RegisterConfig:
    """What is registered, and under which name."""

    model: Registrable = "reengineered_finetuned"
    """Which model becomes the registered version."""
    name_prefix: str = "seam-"
    """The registered model is called <name_prefix><problem>."""
    experiment: str = "seam"
    """MLflow experiment."""
