"""The linear probe against scikit-learn's logistic regression, its folds, and its interval."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from seam.measures.transferability.probe import fit, folds_of, probe, wilson


def _clouds(count: int, width: int, apart: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng, labels = np.random.default_rng(seed), np.arange(count) % 3
    values = apart * rng.normal(size=(3, width))[labels] + rng.normal(size=(count, width))
    return torch.from_numpy(values), torch.from_numpy(labels)


@pytest.mark.parametrize(("count", "width"), [(90, 4), (30, 50)])
def test_classifiers_are_scikit_learns(count: int, width: int) -> None:
    values, labels = _clouds(count, width)
    scaled = StandardScaler().fit_transform(values.numpy())
    for strength, mine in fit(values, labels, 3, (1.0, 0.01)).items():
        theirs = LogisticRegression(C=1 / (strength * count), tol=1e-9, max_iter=2000).fit(scaled, labels.numpy())
        np.testing.assert_allclose(
            mine(values).softmax(1).numpy(), theirs.predict_proba(scaled), atol=2e-3, err_msg=str(strength)
        )


def test_every_image_is_judged_by_a_classifier_that_has_not_seen_it() -> None:
    values, _ = _clouds(120, 40, apart=0.0)
    labels = torch.from_numpy(np.random.default_rng(5).permutation(np.arange(120) % 3))
    found = probe(values, labels, 5, 0)
    low, high = found.interval
    assert low < 1 / 3 < high  # chance, though 40 features fit most of 96 images
    assert float(found.log_likelihood.mean()) < np.log(1 / 3) + 0.05


def test_separable_classes_are_told_apart_and_the_strength_is_chosen() -> None:
    easy = probe(*_clouds(90, 6, apart=8.0), 5, 0)
    assert easy.accuracy == 1.0 and easy.interval[0] == pytest.approx(wilson(90, 90)[0]) and easy.interval[0] > 0.95
    assert easy.strength == 0.001
    assert probe(*_clouds(90, 40, apart=0.1), 5, 0).strength == 1.0


def test_features_that_never_vary_say_nothing() -> None:
    values, labels = _clouds(60, 3)
    padded = torch.cat([values, torch.full((60, 2), 7.0)], 1)
    assert torch.equal(probe(padded, labels, 3, 0).right, probe(values, labels, 3, 0).right)


def test_each_class_is_spread_over_the_folds() -> None:
    labels = torch.tensor([0] * 11 + [1] * 7)
    fold = folds_of(labels, 4, 0)
    for label in (0, 1):
        counts = fold[labels == label].bincount(minlength=4)
        assert int(counts.max() - counts.min()) <= 1
    assert int(fold.bincount().max() - fold.bincount().min()) <= 1


def test_wilson_is_the_textbooks() -> None:
    assert wilson(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert wilson(0, 10)[0] == 0 and wilson(10, 10)[1] == 1
