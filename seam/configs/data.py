"""Numbers of the images and of how they are split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from seam.configs.check import Ge, Gt, Lt, NotEmpty, config

DataKind = Literal[
    "npz", "safetensors", "image_folder", "cifar10", "cifar100", "mit67", "cub200", "flowers102", "actions40", "dogs120"
]
"""Of raw data; what reads it is in `seam.data.formats.load`."""

Exif = Literal["ignore", "apply"]
"""What is done about an orientation that a camera noted: pixels stay as they lie in the file, or are
turned upright."""


def kind_of_path(path: Path) -> DataKind:
    """The kind that a path is taken for where none is given: a file by its suffix, else a folder of images."""
    kinds: dict[str, DataKind] = {".npz": "npz", ".safetensors": "safetensors"}
    return kinds.get(path.suffix, "image_folder")


ValFrom = Literal["train", "test", "given"]
"""Where val comes from: carved out of the training or the test images, or given by the data set."""


@config
class DataConfig:
    """The raw data set."""

    kind: DataKind = "safetensors"
    """What lies at `path`; the others than `npz`, `safetensors` (one file each) and `image_folder` are
    published data sets in their official files and split."""
    path: Annotated[str, NotEmpty()] = "data/fashion.safetensors"
    """File (npz, safetensors) or folder (the others), relative to the project."""
    image_size: Annotated[int, Ge(8)] | None = None
    """Side in pixels that every image is resized (short side) and centre-cropped to; null: keep,
    all images must agree."""
    follow_links: bool = False
    """Read images that links lead to outside of the folder too, instead of refusing the data; links to
    DVC's cache are always followed."""
    exif: Exif = "ignore"
    """What is done about an EXIF orientation of a picture: `ignore`, as the loaders of torchvision and
    timm do, or `apply`: turn the pixels upright. As the network was trained; the server of a
    registered model does the same."""
    drop_copies: bool = False
    """Leave out training images that are identical to a test image (CIFAR-100 has some) or to a given
    val image, and val images identical to a test image, instead of refusing the data."""
    min_images_per_class: Annotated[int, Ge(0)] = 10
    """Fewest images a class may have in train, and at least one in test and given val; 0: classes of a given
    source may be without images."""


@config
class SplitConfig:
    """How train, validation and test are made for a target problem."""

    val_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2
    """Share of the images that val is carved out of, of every class, kept for validation (never
    trained on, never measured as test)."""
    val_from: Literal["auto", "train", "test", "given"] = "auto"
    """Where val comes from: `train`, `test`: carved out of these images; `given`: the data set's own
    (`val/<class>/*`, or `x_val`, `y_val`). `auto`: given where there are some; else test where a
    checkpoint is given and every class has ten images left for val and ten for test; else train.
    Transfers take given ones or carve out of train."""
