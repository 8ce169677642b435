"""Numbers of the source."""

from __future__ import annotations

from typing import Annotated

from seam.configs.check import Ge, Gt, Le, config, require, require_sha256
from seam.configs.training import Augment


@config
class SourceConfig:
    """The trained network to re-engineer, and how to train it when there is none."""

    architecture: str = "resnet20"
    """A built-in name, `torchvision:NAME`, `timm:NAME` (needs timm: the extra `timm`), or
    `path/to/file.py:function` (called with num_classes=...)."""
    checkpoint: str | None = None
    """A file of weights, as PyTorch, Lightning, timm or safetensors write them (nothing in it is
    executed), or the index of several (`model.safetensors.index.json`); null: train here.

    Or one that is fetched: `torchvision:WEIGHTS` (for a torchvision architecture), `https://...`,
    `models:/NAME/VERSION` or `models:/NAME@ALIAS` (MLflow registry), `hub:OWNER/REPO:NAME`
    (torch.hub: runs that repository's code).
    """
    sha256: str | None = None
    """Of the checkpoint's file, 64 hex digits: another file is refused before it is read; null: whatever
    the file is."""
    weights: str | None = None
    """Of several sets of weights in the checkpoint, the name of the one to take (`state_dict_ema`,
    `generator`; `.`: its top); null: the averaged ones where there are averaged and raw ones."""
    expected_accuracy: Annotated[float, Ge(0), Le(1)] | None = None
    """Of a given checkpoint over all classes of the test images, a fraction: stop if it is off by
    more than 0.01; null: do not compare."""
    mean: tuple[float, ...] | None = None
    """Normalisation mean per channel, pixels in [0, 1]; null: of the training images."""
    std: tuple[Annotated[float, Gt(0)], ...] | None = None
    """Normalisation standard deviation per channel; null: of the training images."""
    epochs: Annotated[int, Ge(1)] = 30
    """Epochs of training (SGD, cosine schedule) when there is no checkpoint."""
    lr: Annotated[float, Gt(0)] = 0.1
    """Peak learning rate of that training."""
    batch_size: Annotated[int, Ge(1)] = 64
    """Images per step of that training."""
    weight_decay: Annotated[float, Ge(0)] = 5e-4
    """L2 penalty of that training."""
    augment: Augment = "crop_flip"
    """Random shift by an eighth of the side and horizontal flip; digits and letters want `crop`.
    `resized_crop_flip`: a random window of 8 to 100% of the area and a flip, as ImageNet networks
    are trained."""

    def __post_init__(self) -> None:
        require(
            (self.mean is None) == (self.std is None), f"mean and std go together, got mean={self.mean}, std={self.std}"
        )
        require(
            self.sha256 is None or self.checkpoint is not None,
            f"sha256 is of a given checkpoint, got {self.sha256} and checkpoint=null",
        )
        require_sha256(self.sha256)
        require(
            self.weights is None or self.checkpoint is not None,
            f"weights are named of a given checkpoint, got {self.weights} and checkpoint=null",
        )
        require(
            self.expected_accuracy is None or self.checkpoint is not None,
            f"expected_accuracy is for a given checkpoint, got {self.expected_accuracy} and checkpoint=null",
        )
