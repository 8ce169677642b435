"""How much a module counts in a model that it mends: learned, and bounded."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from seam.composition.patched import Calibration, Patched, calibrate, combined, log_odds, unseen


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


def test_classes_that_are_easily_taken_for_it_count() -> None:
    found = patched(Calibration(0.5, 2.0, -1.0, 1e6, (3.0, -2.0)))(X)
    for row, out in zip(X.double(), found.double(), strict=True):
        first, third = row[0].exp(), row[2].exp()
        rest = torch.log(first + third)
        wanted = 0.5 * (row[1] - rest) + 2.0 * row[3] - 1.0 + (3.0 * first - 2.0 * third) / (first + third)
        assert float(out[1] - rest) == pytest.approx(float(wanted), rel=1e-5)


def test_a_class_that_the_model_takes_it_for_is_learned() -> None:
    """Images of the class are taken for class 0, never for 2, and the module knows nothing of it."""
    logits, scores, labels = made(0.0)
    logits[labels == 1, 0] += 2.0
    numbers = calibrate(logits, scores, labels, 1, caution=0.0)
    assert numbers.module == pytest.approx(0, abs=0.2) and len(numbers.others) == 2
    assert numbers.others[0] > numbers.others[1] + 0.5


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


def test_numbers_without_the_networks_give_what_the_patched_network_gives() -> None:
    numbers = Calibration(0.5, 2.0, -1.0, 3.0)
    assert torch.equal(combined(X[:, :3], X[:, 3], 1, numbers), patched(numbers)(X))


def by_hand(margins: Tensor, logits: Tensor, labels: Tensor, caution: float) -> tuple[float, int]:
    """The best F1 among thresholds between all pairs of margins at which others gain, and how many are allowed."""
    best, allowed = -1.0, 0
    before = (logits.argmax(1) == labels) & (labels != 1)
    for threshold in margins.tolist():
        said = margins >= threshold
        silent = logits.clone()
        silent[:, 1] = -torch.inf
        after = torch.where(said, 1, silent.argmax(1))
        right = (after == labels) & (labels != 1)
        won, lost = int((right & ~before).sum()), int((before & ~right).sum())
        if won - lost >= caution * (won + lost) ** 0.5:
            both = int((said & (labels == 1)).sum())
            best = max(best, 2 * both / (int(said.sum()) + int((labels == 1).sum())))
            allowed += 1
    return best, allowed


@pytest.mark.parametrize("caution", [0.0, 0.5, 1.0])
def test_of_all_shifts_at_which_others_gain_the_best_is_taken(caution: float) -> None:
    logits, scores, labels = made(2.0)
    numbers = calibrate(logits, scores, labels, 1, caution)
    x = torch.cat([logits, scores[:, None]], 1).double()
    after = patched(numbers).double()(x)
    others = logits.double()[:, [0, 2]]
    margins = numbers.own * log_odds(logits.double(), 1) + numbers.module * scores.double() + numbers.shift
    margins = margins + others.softmax(1) @ torch.tensor(numbers.others).double()
    margins = margins - (others.amax(1) - others.logsumexp(1))
    best, allowed = by_hand(margins, logits, labels, caution)
    said = after.argmax(1) == 1
    f1 = 2 * int((said & (labels == 1)).sum()) / (int(said.sum()) + int((labels == 1).sum()))
    assert numbers.module > 0 and 0 < allowed < len(labels) and f1 == pytest.approx(best)


def test_each_image_is_judged_by_numbers_that_never_saw_it() -> None:
    """Whatever the label of an image says, its own logits stay; those of other folds change."""
    logits, scores, labels = made(3.0)
    after = unseen(logits, scores, labels, 1)
    assert not torch.equal(after[:, 1], logits[:, 1]) and torch.equal(after[:, [0, 2]], logits[:, [0, 2]])
    changed = labels.clone()
    first = (labels == 1).nonzero()[0, 0]
    fold = torch.zeros(600, dtype=torch.long)
    for label in range(3):
        rows = (labels == label).nonzero()[:, 0]
        fold[rows] = torch.arange(len(rows)) % 5
    mates = (fold == fold[first]) & (labels == 1)
    scores[mates] = -50.0  # in other folds they are learned from
    again = unseen(logits, scores, changed, 1)
    same_fold = (fold == fold[first]) & ~mates
    assert torch.equal(again[same_fold], after[same_fold])
    assert not torch.equal(again[~same_fold], after[~same_fold])


def test_an_image_set_of_one_class_too_few_is_left_as_it_is() -> None:
    logits, scores, labels = made(3.0)
    assert torch.equal(unseen(logits[1:2], scores[1:2], labels[1:2], 1), logits[1:2])
