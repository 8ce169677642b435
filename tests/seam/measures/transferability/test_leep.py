"""LEEP by hand, NLEEP's mixture against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from seam.measures.transferability.leep import leep, nleep
from seam.measures.transferability.mixture import fitted, memberships


def test_leep_by_hand() -> None:
    seen = [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]
    labels = [0, 1, 1]
    joint = [[0.9 / 3, 0.1 / 3], [0.8 / 3, 1.2 / 3]]
    of = [[joint[y][z] / (joint[0][z] + joint[1][z]) for z in range(2)] for y in range(2)]
    expected = [np.log(of[y][0] * p[0] + of[y][1] * p[1]) for p, y in zip(seen, labels, strict=True)]
    np.testing.assert_allclose(leep(torch.tensor(seen, dtype=torch.float64), torch.tensor(labels)), expected)


def test_leep_limits() -> None:
    labels = torch.arange(60) % 3
    known = torch.nn.functional.one_hot(labels, 5).double()[:, [2, 0, 1, 3, 4]]
    assert float(leep(known, labels).mean()) == pytest.approx(0)
    nothing = torch.full((60, 4), 0.25)
    assert float(leep(nothing, labels).mean()) == pytest.approx(np.log(1 / 3))


def _clouds(apart: float, count: int = 120) -> tuple[Tensor, Tensor]:
    rng, labels = np.random.default_rng(0), np.arange(count) % 3
    return torch.from_numpy(apart * np.eye(3, 8)[labels] + rng.normal(size=(count, 8))), torch.from_numpy(labels)


def test_nleep_rises_with_the_distance_of_the_classes_and_follows_its_seed() -> None:
    scores = [float(nleep(*_clouds(apart), seed=0).mean()) for apart in (0.0, 4.0, 20.0)]
    assert scores == sorted(scores) and scores[2] == pytest.approx(0, abs=1e-6)
    assert torch.equal(nleep(*_clouds(1.0), seed=3), nleep(*_clouds(1.0), seed=3))
    assert torch.isfinite(nleep(torch.zeros(40, 5), torch.arange(40) % 2, seed=0)).all()


def test_the_mixture_is_scikit_learns_from_the_same_start() -> None:
    values, labels = (part.numpy() for part in _clouds(3.0))
    mine = fitted(values, np.eye(3)[labels])
    start = {"means_init": np.stack([values[labels == label].mean(0) for label in range(3)])}
    start |= {"precisions_init": 1 / (np.stack([values[labels == label].var(0) for label in range(3)]) + 1e-6)}
    theirs = GaussianMixture(3, covariance_type="diag", weights_init=[1 / 3] * 3, tol=1e-3, **start).fit(values)
    likelihood = float(np.logaddexp.reduce(mine.log_joint(values), axis=1).mean())
    assert likelihood == pytest.approx(theirs.score(values), abs=2e-3)
    np.testing.assert_allclose(mine.means, theirs.means_, atol=0.05)


def test_memberships_are_probabilities() -> None:
    found = memberships(_clouds(2.0)[0].numpy(), 7, seed=1)
    assert found.shape == (120, 7) and (found >= 0).all()
    np.testing.assert_allclose(found.sum(1), 1)
