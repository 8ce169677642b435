"""The original told which classes to choose from, against enumeration by hand."""

from __future__ import annotations

import math

import pytest
import torch

from seam.measures.restricted import best_threshold, restricted_labels, target_log_odds


def test_several_classes_compete_among_themselves() -> None:
    logits = torch.tensor([[9.0, 1.0, 2.0, 0.0], [0.0, 3.0, 2.0, 9.0]])
    assert restricted_labels(logits, (1, 2)).tolist() == [1, 0]


def test_log_odds_by_hand() -> None:
    logits = torch.tensor([[math.log(6.0), math.log(1.0), math.log(2.0)]])
    assert float(target_log_odds(logits, 0)) == pytest.approx(math.log(6 / 3), rel=1e-6)


@pytest.mark.parametrize(
    ("scores", "targets", "wanted"),
    [
        ([-3.0, -1.0, 2.0, 4.0], [0, 0, 1, 1], 0.5),  # separable: the middle of the gap
        ([4.0, -1.0, 2.0, -3.0], [1, 0, 1, 0], 0.5),  # the same, in another order
        ([1.0, 2.0, 3.0], [0, 1, 0], 1.5),  # two right with 1.5 or 4: the one closer to 0
        ([-5.0, -3.0, -1.0], [0, 1, 0], 0.0),  # two right with -4 or beyond the last: the latter
        ([1.0, 2.0], [1, 1], 0.0),  # all are targets: below the lowest score
        ([-2.0, -1.0], [0, 0], 0.0),  # none is: above the highest
        ([1.0, 1.0, 3.0], [0, 1, 1], 0.0),  # a cut cannot part equal scores: 0 or 2, both two or more right
    ],
)
def test_the_threshold_is_the_best_one(scores: list[float], targets: list[int], wanted: float) -> None:
    assert best_threshold(torch.tensor(scores), torch.tensor(targets).bool()) == wanted


def test_no_threshold_is_better_than_the_chosen_one() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        scores = torch.randint(-5, 6, (12,), generator=generator).float()
        truth = torch.rand(12, generator=generator) < 0.5
        chosen = best_threshold(scores, truth)
        everything = [int(((scores >= t) == truth).sum()) for t in torch.arange(-6.25, 7, 0.25).tolist()]
        assert int(((scores >= chosen) == truth).sum()) == max(everything)
