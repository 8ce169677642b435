"""LogME against the evidence itself, maximised by another optimiser on the full covariance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from torch import Tensor

from seam.measures.transferability.logme import logme


def _images(count: int, width: int, classes: int, seed: int = 0, apart: float = 1.0) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    centres = apart * rng.normal(size=(classes, width))
    return torch.from_numpy(centres[labels] + rng.normal(size=(count, width))), torch.from_numpy(labels)


def _maximised(features: Tensor, labels: Tensor) -> float:
    """Mean over the classes of the largest log density of the labels, y ~ N(0, F F^T / alpha + 1 / beta), an image."""
    values = features.numpy()
    products, count = values @ values.T, len(values)
    found = []
    for label in range(int(labels.max()) + 1):
        target = (labels.numpy() == label).astype(float)

        def cost(logs: np.ndarray, target: np.ndarray = target) -> float:
            covariance = np.exp(-logs[0]) * products + np.exp(-logs[1]) * np.eye(count)
            return -float(multivariate_normal.logpdf(target, np.zeros(count), covariance))

        found.append(-min(minimize(cost, start, method="Nelder-Mead").fun for start in ((0, 0), (5, 5), (0, 5))))
    return float(np.mean(found)) / count


@pytest.mark.parametrize(("count", "width", "apart"), [(40, 3, 0.5), (40, 3, 3.0), (24, 60, 1.0), (30, 30, 0.0)])
def test_it_is_the_largest_evidence(count: int, width: int, apart: float) -> None:
    features, labels = _images(count, width, 3, apart=apart)
    assert logme(features, labels) == pytest.approx(_maximised(features, labels), abs=1e-5)


def test_turning_and_scaling_features_changes_nothing() -> None:
    features, labels = _images(50, 6, 2)
    turned = features @ torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0]
    assert logme(turned, labels) == pytest.approx(logme(features, labels), abs=1e-9)
    assert logme(100 * features, labels) == pytest.approx(logme(features, labels), abs=1e-6)


def test_the_further_apart_the_higher_and_separable_features_stay_finite() -> None:
    scores = [logme(*_images(60, 5, 3, apart=apart)) for apart in (0.0, 1.0, 3.0, 10.0)]
    assert scores == sorted(scores)
    one_hot = torch.nn.functional.one_hot(torch.arange(30) % 3)
    assert np.isfinite(logme(one_hot.double(), torch.arange(30) % 3))
    assert np.isfinite(logme(torch.zeros(30, 4), torch.arange(30) % 3))


def test_a_label_that_no_image_has_does_not_count() -> None:
    features, labels = _images(40, 4, 2)
    assert logme(features, 3 * labels) == logme(features, labels)
