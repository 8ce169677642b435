"""Every number of a transfer to another data set, as frozen dataclasses. No torch here, as in `seam.configs.check`."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated

from seam.configs.check import Ge, Gt, Le, Lt, config, require
from seam.configs.search import TransferSearchConfig
from seam.configs.training import _FROM_SCRATCH, StudentTraining, TrainingSetting


@config
class RemosConfig:
    """ReMoS: which weights its slice leaves out."""

    ratio: Annotated[float, Gt(0), Lt(1)] = 0.1
    """Share of the convolutions' weights that is removed. *Same* (ResNet18: 0.1; ResNet50:
    0.03)."""
    threshold: Annotated[float, Ge(0), Le(1)] = 0.5
    """A channel is active where its mean, scaled to [0, 1] within its layer and image, is above
    this. *Same* (0.5)."""
    batch_size: Annotated[int, Ge(1)] = 32
    """Images profiled at once; no result depends on it. *Same* (32)."""


SETTINGS = (
    TrainingSetting(lr=0.0005, lr_head=0.0005, momentum=0.0, schedule="cosine", head_start="fitted"),
    TrainingSetting(lr=0.001, lr_head=0.001, momentum=0.9, schedule="cosine", head_start="fitted"),
    TrainingSetting(lr=0.002, lr_head=0.002, momentum=0.9, schedule="cosine", head_start="fitted"),
    TrainingSetting(lr=0.005, lr_head=0.005, momentum=0.9, schedule="cosine", head_start="random"),
)
"""From gentle fine-tuning to learning anew: a list to choose from on val that has something for every method."""


@config
class TransferConfig:
    """A transfer to a target data set, by whichever method."""

    removal: Annotated[float, Ge(0), Lt(1)] = 0.5
    """Share of the convolutions' weights that a method removes, met exactly, if it has no share of its
    own. *Same* (SeaM: about 0.5)."""
    search: TransferSearchConfig = field(default_factory=TransferSearchConfig)
    """Of `seam`."""
    remos: RemosConfig = field(default_factory=RemosConfig)
    """Of `remos`."""
    training: StudentTraining = field(default_factory=StudentTraining)
    """Fine-tuning, for every method but `retrain`."""
    retrain: StudentTraining = _FROM_SCRATCH
    """Training from scratch."""
    settings: tuple[TrainingSetting, ...] = ()
    """Settings that each student's training is chosen from on val, the same for every method, over
    `training` or `retrain`; none: those as they are."""

    def __post_init__(self) -> None:
        require_different_settings(self.settings)

    def trainings(self, training: StudentTraining) -> tuple[StudentTraining, ...]:
        """What a student that is trained by `training` is chosen from: at least one."""
        return tuple(setting.over(training) for setting in self.settings) or (training,)


def require_different_settings(settings: tuple[TrainingSetting, ...]) -> None:
    """Raise a ValueError where two settings are the same."""
    require(
        len(set(settings)) == len(settings), f"settings must differ from each other, got {len(settings)}, two alike"
    )
