"""An order and its certainty."""

from __future__ import annotations

import pytest
import torch

from seam.errors import DataError
from seam.measures.transferability.estimates import estimate
from seam.measures.transferability.ranking import rank
from seam.measures.transferability.rows import ESTIMATES
from seam.measures.transferability.seen import Seen


def test_what_is_far_ahead_is_sure_and_what_is_equal_is_a_coin() -> None:
    good = torch.tensor([1.0] * 90 + [0.0] * 10)
    poor = torch.tensor([1.0] * 40 + [0.0] * 60)
    found = rank(torch.stack([poor, good, poor]), 500, 0)
    assert found.order == (1, 0, 2)
    assert found.ahead[0] == 1.0 and found.first_beats_second == 1.0
    assert found.ahead[1] == 0.5 and found.best == (0.0, 1.0, 0.0)


def test_the_certainty_is_what_normal_theory_says() -> None:
    generator = torch.Generator().manual_seed(0)
    difference = torch.randn(400, generator=generator)
    difference = difference - difference.mean() + 0.05
    found = rank(torch.stack([torch.zeros(400), difference]), 4000, 0)
    error = float(difference.std()) / 20
    expected = float(torch.distributions.Normal(0.0, 1.0).cdf(torch.tensor(0.05 / error)))
    assert found.order == (1, 0) and found.ahead[0] == pytest.approx(expected, abs=0.03)


def test_one_network_has_no_second() -> None:
    found = rank(torch.ones(1, 20), 10, 0)
    assert found.first_beats_second is None and found.best == (1.0,)


def test_every_estimate_prefers_features_that_know_the_classes() -> None:
    generator, labels = torch.Generator().manual_seed(0), torch.arange(150) % 3
    hot = torch.nn.functional.one_hot(labels).float()
    good = Seen(5 * hot + torch.randn(150, 3, generator=generator), (4 * hot).softmax(1))
    poor = Seen(torch.randn(150, 3, generator=generator), torch.rand(150, 3, generator=generator).softmax(1))
    better, worse = estimate(good, labels, 5, 0), estimate(poor, labels, 5, 0)
    assert list(better.values) == list(ESTIMATES)
    for name in ESTIMATES:
        assert better.values[name] > worse.values[name], name
    for name, row in ESTIMATES.items():
        assert (name in better.by_image) == row.by_image


def test_too_few_images_are_refused() -> None:
    seen = Seen(torch.randn(12, 3), torch.rand(12, 2))
    with pytest.raises(DataError, match="at least 5 images each, got 2, of which the smallest has 2 images"):
        estimate(seen, torch.tensor([0] * 10 + [1] * 2), 5, 0)
