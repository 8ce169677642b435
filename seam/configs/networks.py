"""Numbers of the source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from seam.configs.check import STRICT, require
from seam.configs.training import Augment


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """The trained network to re-engineer, and how to train it when there is none."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    architecture: str = "resnet20"
    """A built-in name, `torchvision:NAME`, or `path/to/file.py:function` (called with
    num_classes=...)."""
    checkpoint: str | None = None
    """A .safetensors file or a state dict (.pt, .pth, .th; nothing in it is executed); null: train
    here.

    Or one that is fetched: `torchvision:WEIGHTS` (for a torchvision architecture), `https://...`,
    `models:/NAME/VERSION` or `models:/NAME@ALIAS` (MLflow registry), `hub:OWNER/REPO:NAME`
    (torch.hub: runs that repository's code).
    """
    expected_accuracy: float | None = None
    """Of a given checkpoint over all classes of the test images, a fraction: stop if it is off by
    more than 0.01; null: do not compare."""
    mean: tuple[float, ...] | None = None
    """Normalisation mean per channel, pixels in [0, 1]; null: of the training images."""
    std: tuple[float, ...] | None = None
    """Normalisation standard deviation per channel; null: of the training images."""
    epochs: int = 30
    """Epochs of training (SGD, cosine schedule) when there is no checkpoint."""
    lr: float = 0.1
    """Peak learning rate of that training."""
    batch_size: int = 64
    """Images per step of that training."""
    weight_decay: float = 5e-4
    """L2 penalty of that training."""
    augment: Augment = "crop_flip"
    """Random shift by an eighth of the side and horizontal flip; digits and letters want `crop`.
    `resized_crop_flip`: a random window of 8 to 100% of the area and a flip, as ImageNet networks
    are trained."""

    def __post_init__(self) -> None:
        require(self.epochs >= 1, f"epochs must be >= 1, got {self.epochs}")
        require(self.lr > 0, f"lr must be > 0, got {self.lr}")
        require(self.batch_size >= 1, f"batch_size must be >= 1, got {self.batch_size}")
        require(self.weight_decay >= 0, f"weight_decay must be >= 0, got {self.weight_decay}")
        require(
            (self.mean is None) == (self.std is None), f"mean and std go together, got mean={self.mean}, std={self.std}"
        )
        require(self.std is None or all(s > 0 for s in self.std), f"std must be > 0, got {self.std}")
        expected = self.expected_accuracy
        require(
            expected is None or 0 <= expected <= 1, f"expected_accuracy must be a fraction in [0, 1], got {expected}"
        )
        require(
            expected is None or self.checkpoint is not None,
            f"expected_accuracy is for a given checkpoint, got {expected} and checkpoint=null",
        )
