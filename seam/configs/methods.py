"""Every number of a transfer to another data set, as frozen dataclasses. No torch here, as in `seam.configs.check`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from seam.configs.check import STRICT, require
from seam.configs.search import TransferSearchConfig
from seam.configs.training import _FROM_SCRATCH, StudentTraining


@dataclass(frozen=True, kw_only=True)
class RemosConfig:
    """ReMoS: which weights its slice leaves out."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    ratio: float = 0.1
    """Share of the convolutions' weights that is removed. *Same* (ResNet18: 0.1; ResNet50:
    0.03)."""
    threshold: float = 0.5
    """A channel is active where its mean, scaled to [0, 1] within its layer and image, is above
    this. *Same* (0.5)."""
    batch_size: int = 32
    """Images profiled at once; no result depends on it. *Same* (32)."""

    def __post_init__(self) -> None:
        require(0 < self.ratio < 1, f"ratio must be between 0 and 1, got {self.ratio}")
        require(0 <= self.threshold <= 1, f"threshold must be in [0, 1], got {self.threshold}")
        require(self.batch_size >= 1, f"batch_size must be >= 1, got {self.batch_size}")


@dataclass(frozen=True, kw_only=True)
class TransferConfig:
    """A transfer to a target data set, by whichever method."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    removal: float = 0.5
    """Share of the convolutions' weights that `seam`, `magnitude` and `random_mask` remove, met
    exactly. *Same* (SeaM: about 0.5)."""
    search: TransferSearchConfig = field(default_factory=TransferSearchConfig)
    """Of `seam`."""
    remos: RemosConfig = field(default_factory=RemosConfig)
    """Of `remos`."""
    training: StudentTraining = field(default_factory=StudentTraining)
    """Fine-tuning, for every method but `retrain`."""
    retrain: StudentTraining = _FROM_SCRATCH
    """Training from scratch."""

    def __post_init__(self) -> None:
        require(0 <= self.removal < 1, f"removal must be in [0, 1), got {self.removal}")
