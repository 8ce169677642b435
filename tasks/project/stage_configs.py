"""Sections of `params.yaml` that the library has no use for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from seam.configs.check import STRICT, require
from tasks.project.measured import Registrable


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """What the re-engineered model is compared with on the test images."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    adapt_epochs: int = 10
    """Epochs that head and normalisation layers of every compared mask get, at the search's rates;
    0: a fitted head alone."""
    retrain_epochs: int = 20
    """Epochs of a network of the same architecture trained from scratch on the target problem, at
    the source's rates; 0: leave it out."""

    def __post_init__(self) -> None:
        require(self.adapt_epochs >= 0, f"adapt_epochs must be >= 0, got {self.adapt_epochs}")
        require(self.retrain_epochs >= 0, f"retrain_epochs must be >= 0 (0: leave it out), got {self.retrain_epochs}")


@dataclass(frozen=True, kw_only=True)
class RegisterConfig:
    """What is registered, and under which name."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    model: Registrable = "reengineered_finetuned"
    """Which model becomes the registered version."""
    name_prefix: str = "seam-"
    """The registered model is called <name_prefix><problem>."""
    experiment: str = "seam"
    """MLflow experiment."""
