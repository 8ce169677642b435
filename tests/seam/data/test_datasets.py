"""Images of data sets and loaders: which samples a loader goes through, and samples that cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler, Subset, TensorDataset

from seam.data.datasets import DatasetImages
from seam.data.loaders import of_loader
from seam.errors import DataError

COUNT = 10
X, Y = torch.arange(COUNT * 3 * 4 * 4, dtype=torch.float32).view(COUNT, 3, 4, 4), torch.arange(COUNT) % 2
DATA = TensorDataset(X, Y)
SOME = [7, 2, 5]


class Made(Dataset[Any]):
    """Samples as a function of their index makes them."""

    def __init__(self, make: Any, count: int = COUNT) -> None:
        self.make, self.count = make, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return self.make(index)


class Endless:
    def __init__(self, given: Any) -> None:
        self.given = given

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield from self.given


LOADERS: dict[str, tuple[Any, list[int]]] = {
    "in order": (lambda: DataLoader(DATA, 4), list(range(COUNT))),
    "shuffled, the last batch dropped": (lambda: DataLoader(DATA, 4, shuffle=True, drop_last=True), list(range(COUNT))),
    "a sampler": (lambda: DataLoader(DATA, 2, sampler=SOME), sorted(SOME)),
    "weights": (
        lambda: DataLoader(
            DATA, 2, sampler=torch.utils.data.WeightedRandomSampler([0.0] * 5 + [1.0, 0, 0, 0, 0], 20 * COUNT)
        ),
        [5],
    ),
    "batches of a sampler": (
        lambda: DataLoader(DATA, batch_sampler=BatchSampler(SOME, 2, drop_last=False)),
        sorted(SOME),
    ),
    "batches of fewer": (
        lambda: DataLoader(DATA, batch_sampler=BatchSampler(SequentialSampler(SOME), 2, False)),
        [0, 1, 2],
    ),
    "batches by hand": (lambda: DataLoader(DATA, batch_sampler=[[7], [2, 5]]), sorted(SOME)),
    "a subset": (lambda: DataLoader(Subset(DATA, SOME), 2), [0, 1, 2]),
}


@pytest.mark.parametrize("name", LOADERS)
def test_a_loader_goes_through_what_its_sampler_gives(name: str) -> None:
    make, rows = LOADERS[name]
    images, found = of_loader(make())
    assert found.tolist() == rows
    wanted = X[SOME] if name == "a subset" else X[rows]
    assert torch.equal(next(images.batches([found], 0)), wanted)


REFUSED: dict[str, tuple[Any, str]] = {
    "a sampler without an end": (
        lambda: DataLoader(DATA, 2, sampler=Endless(range(3))),
        "more than 160 .* from Endless",
    ),
    "batches without an end": (
        lambda: DataLoader(DATA, batch_sampler=Endless([[0, 1]])),
        "expected a loader that ends, got more than 160 indices from Endless; give a finite one",
    ),
    "indices beyond": (lambda: DataLoader(DATA, 2, sampler=range(12)), r"indices in 0\.\.9 from range, got 0\.\.11"),
    "no whole numbers": (lambda: DataLoader(DATA, 2, sampler=[0.5]), "whole numbers from list"),
    "nothing": (lambda: DataLoader(DATA, 2, sampler=[]), "got an empty loader"),
    "more than there can be": (
        lambda: DataLoader(Made(lambda i: (X[i], 0), 10**15)),
        "at most .* got 1,000,000,000,000,000",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_loader_that_cannot_be_gone_through_is_refused(name: str) -> None:
    make, words = REFUSED[name]
    with pytest.raises(DataError, match=words) as caught:
        of_loader(make())
    assert "\n" not in str(caught.value)


def _at(number: int, there: Any) -> Any:
    """A data set that makes this at one index, and images elsewhere."""

    def make(index: int) -> Any:
        if index != number:
            return X[index], 0
        if isinstance(there, Exception):
            raise there
        return there, 0

    return make


NAN = X[0].clone()
NAN[1, 2, 3] = torch.nan
UNUSABLE: dict[str, tuple[Any, str]] = {
    "NaN": (NAN, "expected finite images, got NaN or infinite values at index 6"),
    "another size": (
        X[0, :, :3],
        "expected samples of one shape, got RuntimeError among 4 from index 4 on: (stack|Trying)",
    ),
    "broken": (
        OSError("cannot identify\nimage file 'x.png'"),
        "got OSError among 4 from index 4 on: image file",
    ),
}


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("name", UNUSABLE)
def test_a_sample_that_cannot_be_used_is_refused_where_it_is_read(name: str, workers: int) -> None:
    there, words = UNUSABLE[name]
    images = DatasetImages(Made(_at(6, there)), workers=workers)
    batches = images.batches([np.arange(4), np.arange(4, 8)], 0)
    assert torch.equal(next(batches), X[:4])
    with pytest.raises(DataError, match=words) as caught:
        next(batches)
    assert "\n" not in str(caught.value)


def test_images_of_another_size_in_another_batch() -> None:
    images = DatasetImages(Made(lambda i: (X[i, :, : 4 - (i > 5)], 0)))
    with pytest.raises(DataError, match=r"expected images of shape \(3, 4, 4\), got \(3, 3, 4\) at index 6; resize"):
        list(images.batches([np.array([2]), np.array([6])], 0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_images_of_another_precision_are_taken_in_float32(dtype: torch.dtype) -> None:
    found = next(DatasetImages(TensorDataset(X.to(dtype), Y)).batches([np.arange(3)], 0))
    assert found.dtype == torch.float32 and torch.equal(found, X[:3].to(dtype).float())


@pytest.mark.parametrize(
    ("sample", "got"),
    [
        ((Tensor([1.0]), 0), r"torch.float32 of shape \(1,\)"),
        (("a.png", 0), "got tuple"),
        (({"x": X[0]}, 0), "got dict"),
    ],
)
def test_samples_without_an_image(sample: Any, got: str) -> None:
    with pytest.raises(DataError, match=f"a float tensor .channels, height, width.*{got}"):
        DatasetImages(Made(lambda i: sample))
