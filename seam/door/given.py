"""Images as people have them, brought to one form: a folder, arrays, a Dataset or a DataLoader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from seam.data.datasets import DatasetImages
from seam.data.doubts import doubt_images
from seam.data.formats.image_folder import VAL_FOLDERS, image_files, say_skipped, visible
from seam.data.formats.listing import ListedImage, Listing, read_images
from seam.data.images import LabelledImages
from seam.data.lazy import Images, LazyImages, select
from seam.data.loaders import of_loader
from seam.data.raw import one_array
from seam.data.scratch import Scratch
from seam.data.stored import IN_MEMORY
from seam.errors import DataError

Given: TypeAlias = "str | Path | Dataset[Any] | DataLoader[Any] | tuple[Any, Any]"
"""A folder with a folder of images for each class; a torch Dataset or DataLoader of (image, label); or
(images, labels): uint8 NHWC, or float NCHW as the network takes them."""


@dataclass(frozen=True)
class Labelled:
    """Images of one split, and what is known of their classes."""

    data: LabelledImages
    """Labels are indices into the classes."""
    classes: tuple[str, ...] | None
    """In the order of the labels; None: only numbers are known."""
    as_stored: bool
    """Whether images are uint8 NHWC, to be normalised; otherwise they are as the network takes them."""

    @property
    def sides(self) -> tuple[int, ...]:
        """Height and width of its images, in pixels."""
        shape = self.data.images.shape
        return tuple(shape[1:3] if self.as_stored else shape[2:4])

    def rows(self, rows: Tensor) -> LabelledImages:
        """Some of the images."""
        return LabelledImages(select(self.data.images, rows), self.data.labels[rows])

    def example(self, preprocess: nn.Module) -> Tensor:
        """Three of them as the network takes them; shape (3, channels, height, width)."""
        last = len(self.data) - 1
        images: Tensor = preprocess(self.data.images[torch.tensor([0, last // 2, last])])
        return images


def labelled(given: Any, name: str, image_size: int | None) -> Labelled:
    """Bring images to one form.

    Args:
        given: see `Given`; what is in this form already stays.
        name: of the argument, for errors.
        image_size: side that the images of a folder are brought to; None: they must agree.

    Raises:
        DataError: it is none of these, holds no images, or images and labels do not fit each other.
    """
    if isinstance(given, Labelled):
        found = given
    elif isinstance(given, str | Path):
        found = _of_folder(Path(given), image_size)
    elif isinstance(given, DataLoader):
        images, rows = of_loader(given)
        found = _of_dataset(images, rows)
    elif isinstance(given, tuple | list) and len(given) == 2:
        found = _of_arrays(given[0], given[1], name)
    elif isinstance(given, IterableDataset):
        raise DataError(
            f"{name}: expected a data set with a length and samples by index, got an IterableDataset; list its samples,"
            " or write them to a folder."
        )
    elif isinstance(given, Dataset) or _is_list_of_samples(given):
        images = DatasetImages(given)
        found = _of_dataset(images, np.arange(images.shape[0]))
    else:
        raise DataError(
            f"{name}: expected a folder, a Dataset, a DataLoader or (images, labels), got {type(given).__name__}."
        )
    if not len(found.data):
        raise DataError(f"{name}: expected images, got none; give at least one of each class.")
    return found


def _is_list_of_samples(given: Any) -> bool:
    """Whether it has a length and samples by index, and is no images without labels."""
    alone = isinstance(given, Tensor | np.ndarray | Mapping)
    return not alone and hasattr(given, "__getitem__") and hasattr(given, "__len__")


def folder_split(train: Given, split: str) -> Path | None:
    """The folder of another split beside or below the folder that `train` names; None: there is none."""
    if not isinstance(train, str | Path):
        return None
    root = Path(train)
    names = VAL_FOLDERS if split == "val" else (split,)
    tops = (root, root.parent) if root.name == "train" else (root,)
    for folder in (top / name for top in tops for name in names):
        if folder.is_dir() and (root / "train").is_dir() | (root.name == "train"):
            return folder
    return None


def _of_folder(root: Path, image_size: int | None) -> Labelled:
    """Images of root/<class>/*, or of root/train/<class>/*."""
    folder = root / "train" if (root / "train").is_dir() else root
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected {folder}/<class>/*, with the images of each class.")
    classes = tuple(entry.name for entry in visible(folder) if entry.is_dir())
    if not classes:
        raise DataError(f"{folder}: expected one folder for each class, got none; put images in {folder}/<class>/.")
    files = [image_files(folder / c) for c in classes]
    say_skipped(folder, [f for _, skipped in files for f in skipped])
    if not any(images for images, _ in files):
        raise DataError(f"{folder}: expected images, got none in its folders; put some in {folder / classes[0]}/.")
    listed = [ListedImage(f, "train", label) for label, (images, _) in enumerate(files) for f in images]
    raw = read_images(Listing(tuple(listed), classes), image_size, Scratch())
    doubt_images(raw, image_size)
    array = one_array(raw, folder)
    whole = array.nbytes <= IN_MEMORY
    images = torch.from_numpy(array[:]) if whole else LazyImages(array, np.arange(len(array)))
    return Labelled(LabelledImages(images, torch.tensor([i.label for i in raw.images])), classes, as_stored=True)


def _of_dataset(images: DatasetImages, rows: Any) -> Labelled:
    labels = images.labels()
    names = _names_of(getattr(_innermost(images.dataset), "classes", None))
    chosen = torch.from_numpy(rows)
    return Labelled(LabelledImages(LazyImages(images, rows), labels[chosen]), names, as_stored=False)


def _names_of(classes: Any) -> tuple[str, ...] | None:
    """Names of a data set's classes, each once: several synonyms as one, with the number where two are called alike."""
    if classes is None:
        return None
    names = [", ".join(map(str, c)) if isinstance(c, tuple | list) else str(c) for c in classes]
    return tuple(f"{name} ({i})" if names.count(name) > 1 else name for i, name in enumerate(names))


def _innermost(dataset: Any) -> Any:
    """A data set without the subsets around it."""
    while hasattr(dataset, "dataset") and hasattr(dataset, "indices"):
        dataset = dataset.dataset
    return dataset


def _of_arrays(images: Any, labels: Any, name: str) -> Labelled:
    x, y = _as_tensor(images, name, "images"), _as_tensor(labels, name, "labels")
    if x.dtype == torch.uint8 and x.ndim == 3:
        x = x[..., None]
    as_stored = x.dtype == torch.uint8
    channels = x.shape[-1] if as_stored and x.ndim == 4 else 0
    if x.ndim != 4 or not (x.is_floating_point() or channels in (1, 3, 4)):
        raise DataError(
            f"{name}: expected images of dtype uint8 and shape (n, height, width, channels), or float and shape"
            f" (n, channels, height, width), got {x.dtype} and {tuple(x.shape)}; convert them."
        )
    if y.ndim != 1 or y.is_floating_point() or y.dtype == torch.bool:
        raise DataError(f"{name}: expected whole numbers as labels, shape (n,), got {y.dtype} and {tuple(y.shape)}.")
    if len(x) != len(y):
        raise DataError(f"{name}: expected a label for each image, got {len(x)} images and {len(y)} labels.")
    if not as_stored and not all(bool(torch.isfinite(piece).all()) for piece in x.split(1024)):
        raise DataError(f"{name}: expected finite images, got NaN or infinite values; mend or remove them.")
    return Labelled(LabelledImages(x if as_stored else x.float(), y.long()), None, as_stored)


def _as_tensor(given: Any, name: str, what: str) -> Tensor:
    """An array, a tensor or a list of them."""
    try:
        if isinstance(given, list | tuple) and given and isinstance(given[0], Tensor | np.ndarray):
            return torch.stack([torch.as_tensor(one) for one in given])
        return torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as e:
        wanted = "numbers" if what == "labels" else "one shape"
        kind = type(given[0] if isinstance(given, list | tuple) and given else given).__name__
        raise DataError(
            f"{name}: expected {what} as an array or tensor of {wanted}, got {kind}: {' '.join(str(e).split())[:120]};"
            " convert them."
        ) from e


def named(found: Labelled, classes: Sequence[str] | None) -> Labelled:
    """The same with these names of its classes, where they are given."""
    return found if classes is None else replace(found, classes=tuple(str(c) for c in classes))


__all__ = ["Given", "Images", "Labelled", "folder_split", "labelled", "named"]
