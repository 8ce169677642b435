"""Which images are looked at."""

from __future__ import annotations

import torch

from seam.measures.transferability.sample import drawn


def test_shares_are_kept_and_copies_left_out() -> None:
    labels = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
    images = torch.arange(100, dtype=torch.uint8).view(100, 1, 1, 1).clone()
    rows = drawn(images, labels, 50, 0)
    assert labels[rows].bincount().tolist() == [30, 15, 5] and rows.tolist() == sorted(set(rows.tolist()))
    assert torch.equal(rows, drawn(images, labels, 50, 0)) and not torch.equal(rows, drawn(images, labels, 50, 1))
    images[1:40] = images[0]
    assert labels[drawn(images, labels, 100, 0)].bincount().tolist() == [21, 30, 10]


def test_as_many_of_each_where_that_is_wanted() -> None:
    labels = torch.tensor([0] * 12 + [1] * 88)
    images = torch.arange(100, dtype=torch.uint8).view(100, 1, 1, 1)
    assert labels[drawn(images, labels, 100, 0, balanced=True)].bincount().tolist() == [12, 12]
    assert labels[drawn(images, labels, 10, 0, balanced=True)].bincount().tolist() == [5, 5]
