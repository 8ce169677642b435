"""Numbers of attacks and backdoors."""

from __future__ import annotations

from typing import Annotated, Literal

from seam.configs.check import Ge, Gt, Le, config
from seam.configs.training import StudentTraining


@config
class AttackConfig:
    """The feature attack that makes the adversarial set from the source alone.

    Source: SeaM section 5.4 and ReMoS; all budgets live in normalised space, as published.
    """

    eps_normalized: Annotated[float, Gt(0)] = 0.1
    """L-infinity budget in normalised space. *Same* (0.1)."""
    step_normalized: Annotated[float, Gt(0)] = 0.01
    """Step in normalised space. *Same* (0.01)."""
    steps: Annotated[int, Ge(1)] = 40
    """Iterations. *Same* (40)."""
    clip: Literal["published", "valid"] = "published"
    """`published`: clamp to [-2.2, 2.2] in normalised space, which can move bright pixels beyond
    the budget; `valid`: to the pixels' true range."""
    batch_size: Annotated[int, Ge(1)] = 64
    """Images per attacked batch."""


@config
class BackdoorConfig:
    """How a backdoor is planted into a source.

    Source: ReMoS section 5 and its code (CV_backdoor); *differs*: the trigger is a plain pattern
    instead of a logo.
    """

    share: Annotated[float, Gt(0), Le(1)] = 0.2
    """Share of the training images that get the trigger and the target class. *Same* (0.2)."""
    target_class: Annotated[int, Ge(0)] = 0
    """Label of every image with the trigger. *Same* (0)."""
    side: Annotated[float, Gt(0), Le(1)] = 0.18
    """Side of the trigger as a share of the image's shorter side. *Same* (40 of 224 pixels)."""
    training: StudentTraining = StudentTraining(lr_head=0.005, label_smoothing=0.1, keep="last", augment="none")
    """Of the source, on the poisoned images of the target. *Differs*: 30 epochs (published: 30,000
    steps), without augmentation, which would move the trigger."""


@config
class WhiteboxConfig:
    """Attacks that see the student itself. Budgets live in pixel space, pixels in [0, 1]."""

    eps_pixel: Annotated[float, Gt(0), Le(1)] = 0.0225
    """L-infinity budget: the feature attack's 0.1 at ImageNet's mean deviation (5.7 of 255)."""
    step_pixel: Annotated[float, Gt(0)] = 0.00225
    """Step of PGD."""
    steps: Annotated[int, Ge(1)] = 40
    """Iterations of PGD."""
    fab_steps: Annotated[int, Ge(1)] = 20
    """Iterations of FAB; each costs a backward pass a class."""
    batch_size: Annotated[int, Ge(1)] = 64
    """Images a batch of PGD."""
    fab_batch_size: Annotated[int, Ge(1)] = 8
    """Images a batch of FAB, which holds an image's gradient of every class."""
