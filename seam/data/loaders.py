"""The images that a torch DataLoader goes through."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sized
from typing import Any

import numpy as np
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler

from seam.data.datasets import DatasetImages, global_draws_kept
from seam.data.lazy import Rows
from seam.errors import DataError

_ROUNDS = 16
"""As often as it has images a sampler may draw from a data set, unless it says that it draws more."""


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
    rows = _rows_of(loader, len(dataset))
    if not len(rows):
        raise DataError("expected images, got an empty loader; give one with at least one image of each class.")
    return images, rows


def _rows_of(loader: DataLoader[Any], count: int) -> Rows:
    """The samples that a loader goes through, of a data set of `count`, ascending.

    Raises:
        DataError: its sampler has no end, or gives what is no index.
    """
    batches = loader.batch_sampler
    drawn: Any = batches.sampler if type(batches) is BatchSampler else itertools.chain.from_iterable(batches or ())
    if isinstance(drawn, RandomSampler | SequentialSampler) and len(drawn.data_source) == count:
        return np.arange(count)
    name = type(drawn if type(batches) is BatchSampler else batches).__name__
    most = max(_ROUNDS * count, len(drawn) if isinstance(drawn, Sized) else 0)
    try:
        with global_draws_kept():
            found = np.fromiter(map(operator.index, itertools.islice(drawn, most + 1)), np.int64)
    except TypeError as e:
        raise DataError(f"expected indices that are whole numbers from {name}, got others ({e}).") from e
    if len(found) > most:
        raise DataError(f"expected a loader that ends, got more than {most:,} indices from {name}; give a finite one.")
    if len(found) and not 0 <= found.min() <= found.max() < count:
        raise DataError(
            f"expected indices in 0..{count - 1} from {name}, got {found.min()}..{found.max()}; give a sampler of this"
            " data set."
        )
    return np.unique(found)
