"""Numbers of the images and of how they are split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from seam.configs.check import STRICT, require


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The raw data set."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    kind: Literal[
        "npz", "image_folder", "cifar10", "cifar100", "mit67", "cub200", "flowers102", "actions40", "dogs120"
    ] = "npz"
    """`npz`: x_train, y_train, x_test, y_test (uint8 NHWC or NHW), optional `classes`.
    `image_folder`: root/train/<class>/*, root/test/<class>/*.

    The others: the published data set of that name, in its official files and split.
    """
    path: str = "data/digits.npz"
    """File (npz) or folder (the others), relative to the project."""
    image_size: int | None = None
    """Side in pixels that every image is resized (short side) and centre-cropped to; null: keep,
    all images must agree."""
    drop_copies: bool = False
    """Leave out training images that are identical to a test image (CIFAR-100 has some) instead of
    refusing the data."""
    min_images_per_class: int = 10
    """Fewest images a class may have in train, and at least one in test; 0: classes of a given
    source may be without images."""

    def __post_init__(self) -> None:
        require(bool(self.path), "path must name a file or folder, got an empty string")
        require(
            self.image_size is None or self.image_size >= 8,
            f"image_size must be null or >= 8 pixels, got {self.image_size}",
        )
        require(self.min_images_per_class >= 0, f"min_images_per_class must be >= 0, got {self.min_images_per_class}")


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """How train, validation and test are made for a target problem."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    val_fraction: float = 0.2
    """Share of the training images, of every class, kept for validation (never trained on)."""

    def __post_init__(self) -> None:
        require(0 < self.val_fraction < 1, f"val_fraction must be between 0 and 1, got {self.val_fraction}")
