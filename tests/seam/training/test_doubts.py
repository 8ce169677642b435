"""Doubts of a training, from epochs written by hand."""

import warnings

import pytest

from seam.errors import SuspectResultWarning
from seam.training.doubts import doubt_training
from seam.training.loop import Epoch


def said(*epochs, num_classes=2):
    """The doubts of (loss, val accuracy, cross-entropy) of each epoch; the model was at 80% before."""
    history = [Epoch(0, None, 0.8), *(Epoch(i, *epoch) for i, epoch in enumerate(epochs, 1))]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        doubt_training("fine-tuning", history, num_classes)
    assert all(w.category is SuspectResultWarning and w.message.hint == "learning_rate" for w in caught)
    return [w.message.what for w in caught]


def test_a_training_as_it_should_be_and_none_at_all_are_not_doubted():
    assert said((0.6, 0.82, 0.6), (0.5, 0.79, 0.5)) == []
    assert said() == []


@pytest.mark.parametrize("best", [0.8, 0.7])
def test_epoch_0_kept(best):
    (text,) = said((0.6, 0.6, 0.6), (0.5, best, 0.5))
    assert text == (
        "fine-tuning: epoch 0 was kept: none of 2 epochs got above the 80.00% on val that the model began with, the"
        f" best reached {best:.2%}"
    )


def test_a_loss_that_rose():
    assert said((0.5, 0.9, 0.5), (0.4, 0.9, 0.4), (0.6, 0.9, 0.6)) == [
        "fine-tuning: the loss rose from 0.5 in the first epoch to 0.6 in the last"
    ]


def test_a_start_far_above_chance_is_of_the_labels_part_of_the_loss():
    """Chance of two classes is log 2 = .693, three times that 2.08."""
    (text,) = said((2.1, 0.9, 2.1))
    assert text == (
        "fine-tuning: the cross-entropy of the first epoch is 2.1, far above that of chance, 0.693 for 2 classes"
    )
    assert said((2.0, 0.9, 2.0)) == []
    assert said((9.0, 0.9, 0.5)) == []
    assert said((2.1, 0.9, 2.1), num_classes=4) == []
