"""Every number of a transfer to another data set, as frozen dataclasses. No torch here, as in `seam.configs`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from seam.configs import STRICT, Augment, require


@dataclass(frozen=True, kw_only=True)
class TransferSearchConfig:
    """SeaM's mask search for a transfer, over the convolutions of the source."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    method: Literal["budget", "drift"] = "budget"
    """As in `SearchConfig`. *Differs*: the original is `drift`, which here stops after the first round that has removed enough."""
    rounds: int = 40
    """Epochs over the target's training images: all of them with `budget`, at most with `drift`. Too few cost more than anything else: with a
    thousand images and 80% removed, 10 instead of 40 lose 13 points. *Differs*: the original runs up to 300."""
    batch_size: int = 64
    """Images a step. *Same* (64)."""
    lr_scores: float = 0.005
    """As in `SearchConfig` (published, with `drift`: 0.05)."""
    lr_head: float = 0.001
    """Adam rate of the new classifier during the search. *Same* (0.001)."""
    alpha: float = 0.5
    """`drift`: weight of the share kept in the objective. *Same* (0.5)."""
    ramp: float = 0.6
    """`budget`: share of the rounds in which the kept share falls."""
    norm_layers: Literal["frozen", "learn"] = "frozen"
    """Whether scales, shifts and statistics of the normalisation layers learn along; if so, they go with the mask. *Same* (frozen)."""
    lr_norms: float = 0.002
    """Adam rate of the normalisation layers, when they learn."""
    adam_eps: float = 1e-12
    """`drift`: as in `SearchConfig` (published: 1e-8)."""
    augment: Augment = "crop_flip"
    """Random shift by an eighth of the side and horizontal flip. *Differs*: the original is `resized_crop_flip`."""

    def __post_init__(self) -> None:
        require(self.rounds >= 1, f"rounds must be >= 1, got {self.rounds}")
        require(self.batch_size >= 1, f"batch_size must be >= 1, got {self.batch_size}")
        require(self.lr_scores > 0, f"lr_scores must be > 0, got {self.lr_scores}")
        require(self.lr_head > 0, f"lr_head must be > 0, got {self.lr_head}")
        require(self.lr_norms > 0, f"lr_norms must be > 0, got {self.lr_norms}")
        require(self.adam_eps > 0, f"adam_eps must be > 0, got {self.adam_eps}")
        require(self.alpha >= 0, f"alpha must be >= 0, got {self.alpha}")
        require(0 < self.ramp <= 1, f"ramp must be in (0, 1], got {self.ramp}")


@dataclass(frozen=True, kw_only=True)
class RemosConfig:
    """ReMoS: which weights its slice leaves out."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    ratio: float = 0.1
    """Share of the convolutions' weights that is removed. *Same* (ResNet18: 0.1; ResNet50: 0.03)."""
    threshold: float = 0.5
    """A channel is active where its mean, scaled to [0, 1] within its layer and image, is above this. *Same* (0.5)."""
    batch_size: int = 32
    """Images profiled at once; no result depends on it. *Same* (32)."""

    def __post_init__(self) -> None:
        require(0 < self.ratio < 1, f"ratio must be between 0 and 1, got {self.ratio}")
        require(0 <= self.threshold <= 1, f"threshold must be in [0, 1], got {self.threshold}")
        require(self.batch_size >= 1, f"batch_size must be >= 1, got {self.batch_size}")


@dataclass(frozen=True, kw_only=True)
class StudentTraining:
    """How a student is trained on the target: the same for every method, but for training from scratch."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    epochs: int = 30
    """Passes over the target's training images."""
    steps: int | None = None
    """Optimizer steps instead, rounded up to whole epochs; null: `epochs` counts."""
    lr: float = 0.005
    """SGD rate of all layers but the classifier. *Same* (0.005)."""
    lr_head: float = 0.05
    """SGD rate of the classifier. *Same* (0.05)."""
    momentum: float = 0.0
    """*Same* (0)."""
    weight_decay: float = 1e-4
    """L2 penalty. *Same* (1e-4)."""
    batch_size: int = 64
    """Images a step. *Same* (64)."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Rates: as they are (*same*), or a warm-up for a tenth of the steps and then a cosine to 0."""
    head_start: Literal["random", "fitted"] = "random"
    """The classifier before the training: fresh (*same*), or fitted to what the rest of the student gives it."""
    removed_weights: Literal["regrow", "zero"] = "regrow"
    """`regrow`: removed weights start at zero and train again, so the student becomes dense (*same*). `zero`: they stay exactly zero."""
    spatial_dropout: float = 0.0
    """Chance that a channel is dropped after each stage, in training (ReMoS: 0.1; SeaM: figure 8 only); 0: off."""
    label_smoothing: float = 0.0
    """Share of every label that is spread over all classes (ReMoS: 0.1; SeaM: none); 0: off."""
    keep: Literal["best", "last"] = "best"
    """The epoch with the best val accuracy (SeaM: the best on test), or the last (ReMoS)."""
    augment: Augment = "crop_flip"
    """As in `TransferSearchConfig`."""

    def __post_init__(self) -> None:
        require(self.epochs >= 0, f"epochs must be >= 0, got {self.epochs}")
        require(self.steps is None or self.steps >= 1, f"steps must be null or >= 1, got {self.steps}")
        require(self.lr > 0, f"lr must be > 0, got {self.lr}")
        require(self.lr_head > 0, f"lr_head must be > 0, got {self.lr_head}")
        require(0 <= self.momentum < 1, f"momentum must be in [0, 1), got {self.momentum}")
        require(self.weight_decay >= 0, f"weight_decay must be >= 0, got {self.weight_decay}")
        require(self.batch_size >= 1, f"batch_size must be >= 1, got {self.batch_size}")
        require(0 <= self.spatial_dropout < 1, f"spatial_dropout must be in [0, 1), got {self.spatial_dropout}")
        require(0 <= self.label_smoothing < 1, f"label_smoothing must be in [0, 1), got {self.label_smoothing}")

    def whole_epochs(self, num_images: int) -> int:
        """Passes over `num_images` training images that this comes to; a last batch of less than half a batch is no step."""
        if self.steps is None:
            return self.epochs
        full, rest = divmod(num_images, self.batch_size)
        steps_per_epoch = max(1, full + (2 * rest >= self.batch_size))
        return -(-self.steps // steps_per_epoch)


_FROM_SCRATCH = StudentTraining(epochs=60, lr=0.05, lr_head=0.05, momentum=0.9, weight_decay=5e-4, schedule="cosine")


@dataclass(frozen=True, kw_only=True)
class TransferConfig:
    """A transfer to a target data set, by whichever method."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    removal: float = 0.5
    """Share of the convolutions' weights that `seam`, `magnitude` and `random_mask` remove, met exactly. *Same* (SeaM: about 0.5)."""
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


@dataclass(frozen=True, kw_only=True)
class BackdoorConfig:
    """How a backdoor is planted into a source.

    Source: ReMoS section 5 and its code (CV_backdoor); *differs*: the trigger is a plain pattern instead of a logo.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    share: float = 0.2
    """Share of the training images that get the trigger and the target class. *Same* (0.2)."""
    target_class: int = 0
    """Label of every image with the trigger. *Same* (0)."""
    side: float = 0.18
    """Side of the trigger as a share of the image's shorter side. *Same* (40 of 224 pixels)."""
    training: StudentTraining = StudentTraining(lr_head=0.005, label_smoothing=0.1, keep="last", augment="none")
    """Of the source, on the poisoned images of the target. *Differs*: 30 epochs (published: 30,000 steps), without augmentation, which
    would move the trigger."""

    def __post_init__(self) -> None:
        require(0 < self.share <= 1, f"share must be in (0, 1], got {self.share}")
        require(self.target_class >= 0, f"target_class must be >= 0, got {self.target_class}")
        require(0 < self.side <= 1, f"side must be in (0, 1], got {self.side}")


@dataclass(frozen=True, kw_only=True)
class WhiteboxConfig:
    """Attacks that see the student itself. Budgets live in pixel space, pixels in [0, 1]."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    eps_pixel: float = 0.0225
    """L-infinity budget: the feature attack's 0.1 at ImageNet's mean deviation (5.7 of 255)."""
    step_pixel: float = 0.00225
    """Step of PGD."""
    steps: int = 40
    """Iterations of PGD."""
    fab_steps: int = 20
    """Iterations of FAB; each costs a backward pass a class."""
    batch_size: int = 64
    """Images a batch of PGD."""
    fab_batch_size: int = 8
    """Images a batch of FAB, which holds an image's gradient of every class."""

    def __post_init__(self) -> None:
        require(0 < self.eps_pixel <= 1, f"eps_pixel must be in (0, 1], got {self.eps_pixel}")
        require(self.step_pixel > 0, f"step_pixel must be > 0, got {self.step_pixel}")
        for name in ("steps", "fab_steps", "batch_size", "fab_batch_size"):
            require(getattr(self, name) >= 1, f"{name} must be >= 1, got {getattr(self, name)}")
