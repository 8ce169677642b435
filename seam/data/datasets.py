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
    Subset,
    TensorDataset,
    default_collate,
)

from seam.data.lazy import Rows
from seam.errors import DataError, SeamError

Collate = Callable[[list[Any]], Any]
_TOLD_BY = 16
"""Images that a data set is told from others by, beside their number."""
_MOST = 1 << 31
"""Images of a data set; one that says it has more has no end."""
_IMAGES, _LABELS = (
    ("image", "images", "img", "pixel_values", "x", "input", "inputs"),
    ("label", "labels", "target", "y"),
)
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
        if len(dataset) > _MOST:
            raise DataError(f"expected at most {_MOST:,} images, got {len(dataset):,}; give those of one epoch.")
        image = pair(next(self._made([[(0, 0)]])))[0]
        if not isinstance(image, Tensor) or image.ndim != 4 or not image.is_floating_point():
            shown = isinstance(image, Tensor)
            got = f"{image.dtype} of shape {tuple(image.shape[1:])}" if shown else type(image).__name__
            raise DataError(
                f"expected samples whose image is a float tensor (channels, height, width), as the network takes it,"
                f" got {got}; add a transform, such as ToTensor() and Normalize(mean, std)."
            )
        self.shape = (len(dataset), *image.shape[1:])

    def batches(self, chosen: Iterable[Rows], draw: int) -> Iterator[Tensor]:
        """Batches of images; what a transform draws at random is a function of `draw` and of the image's index."""
        keys = [[(int(row), draw) for row in rows] for rows in chosen]
        for key, batch in zip(keys, self._made(keys), strict=True):
            images = pair(batch)[0]
            if not isinstance(images, Tensor) or images.shape[1:] != self.shape[1:]:
                got = tuple(images.shape[1:]) if isinstance(images, Tensor) else type(images).__name__
                raise DataError(f"expected images of shape {self.shape[1:]}, got {got} {_at(key)}; resize them.")
            if not bool(images.isfinite().all()):
                first = key[int((~images.isfinite().flatten(1).all(1)).nonzero()[0])]
                raise DataError(
                    f"expected finite images, got NaN or infinite values {_at([first])}; mend or remove it."
                )
            yield images.float()

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
            found = torch.cat([_whole_numbers(pair(batch)[1]).reshape(-1) for batch in self._made(keys)])
        if len(found) != self.shape[0]:
            raise DataError(
                f"expected a label for each image, got {len(found):,} of {self.shape[0]:,} images; mend it."
            )
        if found.is_floating_point() or found.dtype == torch.bool:
            raise DataError(f"expected labels that are whole numbers, got {found.dtype}; convert them.")
        return found.long()

    def _made(self, keys: list[list[tuple[int, int]]]) -> Iterator[Any]:
        """A batch for each list of (index, draw); nothing that others draw meanwhile is changed."""
        loader: DataLoader[Any] = DataLoader(
            _Seeded(self.dataset), batch_sampler=keys, collate_fn=self._collate, num_workers=self._workers
        )
        with global_draws_kept():
            batches = iter(loader)
        for key in keys:
            try:
                with global_draws_kept():
                    batch = next(batches)
            except SeamError:
                raise
            except Exception as e:  # whatever the data set's own code raises
                kind = type(e).__name__
                why = (str(e).strip().splitlines() or [kind])[-1].removeprefix(f"{kind}: ")[:160]
                raise DataError(
                    f"{type(self.dataset).__name__}: expected samples of one shape, got {kind} {_at(key)}:"
                    f" {why}; mend the data set, or leave them out."
                ) from e
            yield batch


def _at(keys: Sequence[tuple[int, int]]) -> str:
    """Which samples, in words."""
    rows = [row for row, _ in keys]
    return f"at index {rows[0]}" if len(rows) == 1 else f"among {len(rows)} from index {rows[0]} on"


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
def global_draws_kept() -> Iterator[None]:
    """Leave the states of the global random generators as they were."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def _whole_numbers(labels: Any) -> Tensor:
    try:
        return torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as e:
        kind = type(labels[0] if isinstance(labels, Sequence) and labels else labels).__name__
        raise DataError(f"expected labels that are whole numbers, got {kind}; number the classes.") from e


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
