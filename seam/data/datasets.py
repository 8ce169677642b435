"""Images of a torch Dataset or DataLoader, made by it when they are asked for: its transforms are honoured."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    default_collate,
)

from seam.data.lazy import Rows
from seam.errors import DataError

Collate = Callable[[list[Any]], Any]
_TOLD_BY = 16
"""Images that a data set is told from others by, beside their number."""
_IMAGES, _LABELS = ("image", "images", "pixel_values", "x", "input", "inputs"), ("label", "labels", "target", "y")
"""Names in samples that are mappings."""


class DatasetImages:
    """The images of a data set of (image, label), as the network takes them."""

    def __init__(self, dataset: Any, collate: Collate = default_collate, workers: int = 0) -> None:
        """Take a data set that has a length and makes one sample an index.

        Args:
            dataset: yields (image, label), more behind these is not looked at, or a mapping.
            collate: makes a batch of samples.
            workers: processes that make samples; 0: this one.

        Raises:
            DataError: it is empty, or a sample is not a float tensor (channels, height, width) with a
                label.
        """
        self.dataset = dataset
        self._collate, self._workers = collate, workers
        if not isinstance(dataset, Sized) or not len(dataset):
            raise DataError("expected images, got an empty data set; give one with at least one image of each class.")
        image = next(self.batches([np.zeros(1, np.int64)], 0))
        if image.ndim != 4 or not image.is_floating_point():
            got = f"{image.dtype} of shape {tuple(image.shape[1:])}"
            raise DataError(
                f"expected samples whose image is a float tensor (channels, height, width), as the network takes it,"
                f" got {got}; add a transform, such as ToTensor() and Normalize(mean, std)."
            )
        self.shape = (len(dataset), *image.shape[1:])

    def batches(self, chosen: Iterable[Rows], draw: int) -> Iterator[Tensor]:
        """Batches of images; what a transform draws at random is a function of `draw` and of the image's index."""
        for batch in self._made([[(int(row), draw) for row in rows] for rows in chosen]):
            yield pair(batch)[0]

    def identity(self, rows: Rows) -> Iterator[Tensor]:
        """Their number, and some of them, each as it is drawn first."""
        yield torch.from_numpy(rows)
        some = rows[np.linspace(0, len(rows) - 1, min(_TOLD_BY, len(rows))).astype(int)]
        yield from self.batches([some], 0)

    def labels(self) -> Tensor:
        """Of every image; shape (images,), int64.

        Read from the data set where it holds them, otherwise by making every sample once.

        Raises:
            DataError: they are not whole numbers.
        """
        found = _held_labels(self.dataset)
        if found is None:
            keys = [[(row, 0) for row in rows.tolist()] for rows in torch.arange(self.shape[0]).split(256)]
            found = torch.cat([torch.as_tensor(pair(batch)[1]).reshape(-1) for batch in self._made(keys)])
        if found.is_floating_point() or found.dtype == torch.bool:
            raise DataError(f"expected labels that are whole numbers, got {found.dtype}; convert them.")
        return found.long()

    def _made(self, keys: list[list[tuple[int, int]]]) -> Iterator[Any]:
        """A batch for each list of (index, draw); nothing that others draw meanwhile is changed."""
        loader: DataLoader[Any] = DataLoader(
            _Seeded(self.dataset), batch_sampler=keys, collate_fn=self._collate, num_workers=self._workers
        )
        with _global_draws_kept():
            batches = iter(loader)
        for _ in keys:
            with _global_draws_kept():
                batch = next(batches)
            yield batch


def of_loader(loader: DataLoader[Any]) -> tuple[DatasetImages, Rows]:
    """The images of a DataLoader, and which of its data set's it goes through.

    Its batches and their order are not kept: batches are drawn anew for every epoch.

    Raises:
        DataError: its data set has no length or no samples by index.
    """
    dataset = loader.dataset
    if not isinstance(dataset, Sized) or not hasattr(dataset, "__getitem__"):
        raise DataError(
            f"expected a DataLoader over a data set with a length and samples by index, got one over"
            f" {type(dataset).__name__}; give a map-style data set."
        )
    # without a sampler, samples are not collated: a data set that makes whole batches
    if loader.batch_sampler is None:
        raise DataError("expected a DataLoader that makes batches of samples, got batch_size=None; give a batch size.")
    images = DatasetImages(dataset, loader.collate_fn, loader.num_workers)
    sampler = loader.sampler
    rows = (
        np.arange(len(dataset))
        if isinstance(sampler, RandomSampler | SequentialSampler)
        else np.unique(np.fromiter(sampler, np.int64))
    )
    if not len(rows):
        raise DataError("expected images, got an empty loader; give one with at least one image of each class.")
    return images, rows


def pair(batch: Any) -> tuple[Any, Any]:
    """(images, labels) of a batch.

    Raises:
        DataError: it is neither a pair nor a mapping with known names.
    """
    if isinstance(batch, Mapping):
        found = [next((batch[name] for name in names if name in batch), None) for names in (_IMAGES, _LABELS)]
        if found[0] is not None and found[1] is not None:
            return found[0], found[1]
        got = f"a mapping with {', '.join(map(str, batch))}"
    elif isinstance(batch, Sequence) and len(batch) >= 2:
        return batch[0], batch[1]
    else:
        got = type(batch).__name__
    raise DataError(f"expected samples of (image, label), got {got}; give a data set of such pairs.")


class _Seeded(Dataset[Any]):
    """A data set whose keys are (index, draw): all that is drawn for a sample follows from its key."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __getitem__(self, key: tuple[int, int]) -> Any:
        seed = hash(key) % 2**32
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002  what other people's transforms draw from
        torch.manual_seed(seed)
        return self._dataset[key[0]]


@contextmanager
def _global_draws_kept() -> Iterator[None]:
    """Leave the states of the global random generators as they were."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def _held_labels(dataset: Any) -> Tensor | None:
    """Labels of a data set that is known to hold them as they are in its samples."""
    if isinstance(dataset, Subset):
        held = _held_labels(dataset.dataset)
        return None if held is None else held[torch.as_tensor(dataset.indices)]
    if isinstance(dataset, TensorDataset) and len(dataset.tensors) == 2:
        return dataset.tensors[1].reshape(-1)
    known = type(dataset).__module__.startswith("torchvision.datasets")
    if known and getattr(dataset, "target_transform", None) is None and hasattr(dataset, "targets"):
        return torch.as_tensor(dataset.targets)
    return None
