"""How much a module counts in a model that it mends: learned, and bounded."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from seam.composition.patched import Calibration, Patched, calibrate, log_odds


class Given(nn.Module):
    """Gives columns of what it is given."""

    def __init__(self, columns: slice | int) -> None:
        super().__init__()
        self.columns = columns

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.columns]


def patched(numbers: Calibration, column: int = 1) -> Patched:
    return Patched(Given(slice(0, 3)), Given(3), column, numbers)


X = torch.tensor([[2.0, 1.0, 0.0, 5.0], [0.0, 0.0, 3.0, -1.0], [1.0, 4.0, 1.0, 900.0]])


def test_the_log_odds_of_the_class_are_made_of_both_and_others_stay() -> None:
    found = patched(Calibration(0.5, 2.0, -1.0, 1e6))(X)
    assert torch.equal(found[:, [0, 2]], X[:, [0, 2]])
    for row, out in zip(X.double(), found.double(), strict=True):
        rest = torch.log(row[0].exp() + row[2].exp())
        wanted = 0.5 * (row[1] - rest) + 2.0 * row[3] - 1.0
        assert float(out[1] - rest) == pytest.approx(float(wanted), rel=1e-5)


def test_whatever_the_module_says_its_evidence_is_bounded() -> None:
    found = patched(Calibration(1.0, 1.0, 0.0, 2.0))(X)
    assert float(log_odds(found, 1).abs().max()) == pytest.approx(2.0, abs=1e-5)
    for huge in (torch.inf, -torch.inf):
        x = X.clone()
        x[:, 3] = huge
        assert torch.allclose(log_odds(patched(Calibration(1.0, 1.0, 0.0, 2.0))(x), 1).abs(), torch.tensor(2.0))


def test_the_models_own_evidence_alone_is_the_model() -> None:
    for column in range(3):
        assert torch.allclose(patched(Calibration(1.0, 0.0, 0.0, 1e3), column)(X), X[:, :3], atol=1e-5)


def made(good: float) -> tuple[Tensor, Tensor, Tensor]:
    """A model that hardly knows class 1, and a module that knows it as well as `good` says."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(600) % 3
    logits = torch.randn(600, 3, generator=generator)
    logits[torch.arange(600), labels] += 3.0
    logits[:, 1] = torch.randn(600, generator=generator) - 1
    scores = torch.randn(600, generator=generator) + good * (labels == 1)
    return logits, scores, labels


def right(logits: Tensor, labels: Tensor, of_class: bool) -> int:
    return int(((logits.argmax(1) == labels) & ((labels == 1) == of_class)).sum())


def test_a_good_module_lets_the_class_be_found_and_takes_nothing_from_the_others() -> None:
    logits, scores, labels = made(6.0)
    numbers = calibrate(logits, scores, labels, 1)
    after = patched(numbers)(torch.cat([logits, scores[:, None]], 1))
    assert numbers.module > 0 and numbers.bound == pytest.approx(float(log_odds(logits.double(), 1).abs().max()))
    assert right(after, labels, False) >= right(logits, labels, False)
    assert right(after, labels, True) > 150 > 50 > right(logits, labels, True)


def test_the_scale_of_the_scores_makes_no_difference() -> None:
    logits, scores, labels = made(3.0)
    one, other = (calibrate(logits, s, labels, 1) for s in (scores, 1000 * scores - 7))
    x = [torch.cat([logits, s[:, None]], 1) for s in (scores, 1000 * scores - 7)]
    assert (patched(one)(x[0]).argmax(1) == patched(other)(x[1]).argmax(1)).float().mean() > 0.99


def test_a_module_that_is_wrong_about_everything_is_left_out() -> None:
    """Its score is high on the others: it never gets a weight below zero, and no image of others is lost."""
    logits, scores, labels = made(-6.0)
    numbers = calibrate(logits, scores, labels, 1)
    after = patched(numbers)(torch.cat([logits, scores[:, None]], 1))
    assert numbers.module >= 0
    assert right(after, labels, False) >= right(logits, labels, False)
