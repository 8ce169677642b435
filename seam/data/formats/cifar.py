"""CIFAR-10 and CIFAR-100 through torchvision, from its own files.

The files are pickles: only torchvision opens them, and only after it has checked their MD5 sums.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from seam.data.prepared import Split
from seam.data.raw import RawData, RawImage
from seam.errors import DataError

CifarKind = Literal["cifar10", "cifar100"]


def load_cifar(kind: CifarKind, root: Path) -> RawData:
    """Read CIFAR from `root`; nothing is downloaded. CIFAR-100 has its 100 fine classes.

    Raises:
        DataError: a file is missing or its MD5 sum is not the published one.
    """
    images: list[RawImage] = []
    classes: tuple[str, ...] = ()
    splits: tuple[Split, Split] = ("train", "test")
    for split in splits:
        dataset = _open(kind, root, split)
        classes = tuple(dataset.classes)
        images += [
            RawImage(f"{root}[{split}:{i}]", split, int(dataset.targets[i]), dataset.data[i])
            for i in range(len(dataset.data))
        ]
    return RawData(tuple(images), classes)


def cifar_classes(kind: CifarKind, root: Path) -> tuple[str, ...]:
    """The class names in the files at `root`.

    Raises:
        DataError: a file is missing or its MD5 sum is not the published one.
    """
    return tuple(_open(kind, root, "test").classes)


def fetch_cifar(kind: CifarKind, root: Path) -> None:
    """Download CIFAR to `root` with torchvision, unless it is there.

    Raises:
        DataError: the network or the host does not answer, or the files that came are damaged.
    """
    dataset = _torchvision(kind)
    try:
        dataset(root, train=True, download=True)
    except (OSError, RuntimeError) as e:  # URLError is an OSError
        reason = " ".join(str(e).split())
        raise DataError(
            f"{root}: {kind} is not there and could not be downloaded ({reason}); get it where the network allows",
            hint="data_path",
        ) from e


def _open(kind: CifarKind, root: Path, split: Split) -> Any:
    try:
        return _torchvision(kind)(root, train=split == "train", download=False)
    except (OSError, RuntimeError) as e:
        raise DataError(
            f"{root}: expected torchvision's files of {kind} with their published MD5 sums, got missing or damaged"
            " files; remove them and fetch again."
        ) from e


def _torchvision(kind: CifarKind) -> Any:
    from torchvision import datasets  # here: it takes seconds, and only CIFAR needs it

    return {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[kind]
