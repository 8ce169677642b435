"""Every number of a transfer to another data set, as frozen dataclasses. No torch here, as in `seam.configs.check`."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from seam.configs.check import Ge, Gt, Le, Lt, config, require
from seam.configs.search import TransferSearchConfig
from seam.configs.training import _FROM_SCRATCH, Augment, StudentTraining, TrainingSetting


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


@config
class PartlyConfig:
    """Training of some parts of a network, the rest of which stays as it is."""

    epochs: Annotated[int, Ge(0)] = 4
    """Passes over the training images at most; the one with the best val accuracy is kept."""
    lr: Annotated[float, Gt(0)] = 0.02
    """Peak rate of SGD where parts are trained, after a warm-up and before a cosine to 0."""
    lr_full: Annotated[float, Gt(0)] = 0.005
    """The same where all of the network is, as a control."""
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9
    """Of SGD (Nesterov)."""
    weight_decay: Annotated[float, Ge(0)] = 1e-4
    """L2 penalty."""
    batch_size: Annotated[int, Ge(1)] = 64
    """Images a step."""
    distill: Annotated[float, Ge(0)] = 1.0
    """Weight of the given network's answers as a teacher beside the labels, where blocks are removed;
    0: the labels alone."""
    augment: Augment = "crop_flip"
    """How training images vary."""


@config
class RestructureConfig:
    """DeepArc: the segments of a network, which blocks go, and which train again."""

    aim: Literal["compress", "adversarial", "repair"] = "compress"
    """`compress`: redundant blocks go, and their neighbours train. Nothing goes, and the blocks that
    need it train: `adversarial`, where images under attack leave the clean ones' way; `repair`, where
    images of one class come no nearer to each other."""
    threshold: Annotated[float, Ge(0), Lt(1)] = 0.9
    """Blocks of a segment are more alike than this (CKA). *Differs* (0.99)."""
    linkage: Literal["complete", "single"] = "complete"
    """Every two blocks of a segment are that alike, or every two neighbours (as published)."""
    blocks: Annotated[int, Ge(1)] | None = None
    """So many blocks go at most; null: as many as `max_drop` allows."""
    max_drop: Annotated[float, Ge(0), Le(1)] = 0.1
    """Points of accuracy on val, as a fraction, that removals may cost before the training that mends
    it, where `blocks` is null."""
    trained_share: Annotated[float, Gt(0), Le(1)] = 0.2
    """Share of the weights that trains at most. *Same* (below 20% of the neurons)."""
    images: Annotated[int, Ge(4)] = 2048
    """Training images that blocks are compared on, and val images that removals are tried on."""
    batch_size: Annotated[int, Ge(8)] = 256
    """Images compared with each other. *Same* (256)."""
    eps_pixel: Annotated[float, Gt(0), Lt(1)] = 0.03
    """Largest change of a pixel, of [0, 1], in an attack (`adversarial`)."""
    attack_steps: Annotated[int, Ge(1)] = 7
    """Steps of an attack."""
    random_draws: Annotated[int, Ge(0)] = 10
    """As many random choices of as many blocks stand beside the chosen ones, untrained; 0: none."""
    controls: bool = True
    """Whether two controls are trained as well: without the last blocks, and all weights for the same
    counted time."""
    training: PartlyConfig = field(default_factory=PartlyConfig)
    """Of the parts."""


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
