"""H-score against matrices written out, and shrinkage against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.covariance import ledoit_wolf as oracle
from sklearn.covariance import ledoit_wolf_shrinkage

from seam.measures.transferability.hscore import hscore, ledoit_wolf


@pytest.mark.parametrize(("count", "width"), [(50, 4), (20, 35), (12, 12)])
def test_shrinkage_is_scikit_learns(count: int, width: int) -> None:
    values = np.random.default_rng(0).normal(size=(count, width)) * np.linspace(0.1, 3, width)
    centred = torch.from_numpy(values - values.mean(0))
    assert ledoit_wolf(centred) == pytest.approx(ledoit_wolf_shrinkage(values), abs=1e-12)


@pytest.mark.parametrize(("count", "width"), [(60, 5), (24, 40)])
def test_it_is_the_trace_of_the_definition(count: int, width: int) -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(count) % 3
    values = rng.normal(size=(count, width)) + rng.normal(size=(3, width))[labels]
    covariance, shrinkage = oracle(values)
    means = np.stack([values[labels == label].mean(0) for label in range(3)])[labels]
    between = np.cov(means.T, bias=True)
    expected = np.trace(np.linalg.inv(covariance) @ ((1 - shrinkage) * between))
    assert hscore(torch.from_numpy(values), torch.from_numpy(labels)) == pytest.approx(expected, rel=1e-9)


def test_limits() -> None:
    labels = torch.arange(90) % 3
    apart = 1000 * torch.nn.functional.one_hot(labels).double() + torch.randn(90, 3, dtype=torch.float64)
    assert hscore(apart, labels) == pytest.approx(2, abs=0.05)  # classes - 1, and the covariance hardly shrinks
    assert hscore(torch.zeros(90, 3), labels) == 0
    alike = torch.randn(90, 3, generator=torch.Generator().manual_seed(0))
    assert hscore(alike, labels) < 0.2
