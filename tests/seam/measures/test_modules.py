"""What modules have in common, and how well each finds its class: against sums by hand."""

from __future__ import annotations

import pytest
import torch

from seam.errors import SearchError
from seam.measures.macs import Counts
from seam.measures.modules import Found, best_threshold, f1_by_class, found, jaccard, retention, within


def test_jaccard_is_both_over_either_for_every_pair() -> None:
    one = {"a": torch.tensor([1, 1, 0, 0]).bool(), "b": torch.tensor([[1, 0]]).bool()}
    two = {"a": torch.tensor([1, 0, 1, 0]).bool(), "b": torch.tensor([[1, 1]]).bool()}
    none = {"a": torch.zeros(4).bool(), "b": torch.zeros(1, 2).bool()}
    found_ = jaccard([one, two, none])
    expected = torch.tensor([[1, 2 / 5, 0], [2 / 5, 1, 0], [0, 0, 0]])
    assert torch.allclose(found_, expected)
    with pytest.raises(SearchError, match="expected those of modules of one source"):
        jaccard([one, {"a": one["a"]}])


def test_retention_is_three_fractions() -> None:
    masks = {"a": torch.tensor([1, 1, 0, 0]).bool(), "b": torch.tensor([0, 1, 0, 0]).bool()}
    source, module = Counts(1000, 1000, 800, 0.8, 50_000, 40_000), Counts(500, 500, 200, 0.4, 20_000, 4_000)
    kept = retention(masks, module, source)
    assert (kept.kernels, kept.params, kept.macs) == (3 / 8, 0.25, 0.1)


def test_precision_recall_and_f1() -> None:
    said, true = torch.tensor([1, 1, 1, 0, 0, 0]).bool(), torch.tensor([1, 1, 0, 1, 1, 0]).bool()
    assert found(said, true) == Found(2 / 3, 0.5, 4 / 7)
    assert found(torch.zeros(6).bool(), true) == Found(0.0, 0.0, 0.0)


def test_f1_of_each_class_by_the_largest_logit() -> None:
    logits, labels = torch.eye(3)[[0, 0, 1, 2, 2]], torch.tensor([0, 1, 1, 2, 0])
    by_class = f1_by_class(logits, labels, ("x", "y", "z"))
    assert [round(by_class[c].f1, 4) for c in "xyz"] == [0.5, 0.6667, 0.6667]


def test_the_best_threshold_is_the_best_of_all() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        scores = torch.randint(0, 12, (40,), generator=generator).float()  # many are equal
        true = torch.rand(40, generator=generator) < 0.3
        threshold, f1 = best_threshold(scores, true)
        every = [found(scores > t, true).f1 for t in [*(scores.unique() - 0.5), 99]]
        assert f1 == pytest.approx(max(every))
        assert found(scores > threshold, true).f1 == pytest.approx(f1)


def test_what_may_be_lost_is_less_by_standard_errors() -> None:
    known = torch.tensor([True] * 80 + [False] * 20)
    right = torch.tensor([True] * 74 + [False] * 6 + [True] * 3 + [False] * 17)  # 3 lost, 9 apart
    assert within(known, right, 0.03, caution=0.0) and not within(known, right, 0.029, caution=0.0)
    assert within(known, right, 0.045, caution=0.5) and not within(known, right, 0.044, caution=0.5)
    assert within(known, right, 0.06, caution=100.0) and not within(known, right, 0.059, caution=100.0), "half is left"
    assert within(right, known, 0.0, caution=100.0) and not within(known, right, 0.0, caution=0.0)
