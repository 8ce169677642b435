"""Numbers of attacks and backdoors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from seam.configs.check import STRICT, require
from seam.configs.training import StudentTraining


@dataclass(frozen=True, kw_only=True)
class AttackConfig:
    """The feature attack that makes the adversarial set from the source alone.

    Source: SeaM section 5.4 and ReMoS; all budgets live in normalised space, as published.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    eps_normalized: float = 0.1
    """L-infinity budget in normalised space. *Same* (0.1)."""
    step_normalized: float = 0.01
    """Step in normalised space. *Same* (0.01)."""
    steps: int = 40
    """Iterations. *Same* (40)."""
    clip: Literal["published", "valid"] = "published"
    """`published`: clamp to [-2.2, 2.2] in normalised space, which can move bright pixels beyond
    the budget; `valid`: to the pixels' true range."""
    batch_size: int = 64
    """Images per attacked batch."""

    def __post_init__(self) -> None:
        require(self.eps_normalized > 0, f"eps_normalized must be > 0, got {self.eps_normalized}")
        require(self.step_normalized > 0, f"step_normalized must be > 0, got {self.step_normalized}")
        require(self.steps >= 1, f"steps must be >= 1, got {self.steps}")
        require(self.batch_size >= 1, f"batch_size must be >= 1, got {self.batch_size}")


@dataclass(frozen=True, kw_only=True)
class BackdoorConfig:
    """How a backdoor is planted into a source.

    Source: ReMoS section 5 and its code (CV_backdoor); *differs*: the trigger is a plain pattern
    instead of a logo.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    share: float = 0.2
    """Share of the training images that get the trigger and the target class. *Same* (0.2)."""
    target_class: int = 0
    """Label of every image with the trigger. *Same* (0)."""
    side: float = 0.18
    """Side of the trigger as a share of the image's shorter side. *Same* (40 of 224 pixels)."""
    training: StudentTraining = StudentTraining(lr_head=0.005, label_smoothing=0.1, keep="last", augment="none")
    """Of the source, on the poisoned images of the target. *Differs*: 30 epochs (published: 30,000
    steps), without augmentation, which would move the trigger."""

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
