"""The training loop: it learns, continues where it was killed, keeps the best epoch."""

import pytest
import torch
from torch import nn

from seam.errors import SourceError
from seam.networks.predict import accuracy, predict
from seam.networks.source import Preprocess
from seam.training.loop import TrainingPlan, train
from tests.seam.training.bright import RUNTIME, small_network, two_shades


def _train(model, checkpoint=None, on_epoch=None, keep_best=False, lr=0.05):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    plan = TrainingPlan(6, 8, "crop", 0, cosine=True, keep_best=keep_best)
    preprocess = Preprocess((0.5,) * 3, (0.25,) * 3)
    return train(
        model,
        optimizer,
        preprocess,
        two_shades(),
        two_shades(20, 1),
        plan,
        RUNTIME,
        checkpoint=checkpoint,
        key="k",
        on_epoch=on_epoch,
    )


def test_training_learns_and_a_killed_one_continues_to_the_same_weights(tmp_path):
    whole, resumed = small_network(), small_network()
    history = _train(whole)
    assert history[-1].val_accuracy > history[0].val_accuracy
    assert history[-1].loss < history[1].loss

    def kill(epoch):
        if epoch.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _train(resumed, tmp_path / "c", kill)
    fresh = small_network()
    assert _train(fresh, tmp_path / "c") == history
    assert all(torch.equal(v, whole.state_dict()[k]) for k, v in fresh.state_dict().items())


def test_dropout_is_drawn_alike_whatever_was_drawn_before_and_where_a_killed_training_goes_on(tmp_path):
    def with_dropout():
        return nn.Sequential(nn.Dropout(0.5), small_network())

    def kill(epoch):
        if epoch.epoch == 3:
            raise KeyboardInterrupt

    whole, resumed = with_dropout(), with_dropout()
    torch.manual_seed(1)
    history, state = _train(whole), torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(7)
    with pytest.raises(KeyboardInterrupt):
        _train(resumed, tmp_path / "c", kill)
    fresh = with_dropout()
    torch.rand(7)
    assert _train(fresh, tmp_path / "c") == history
    assert all(torch.equal(v, whole.state_dict()[k]) for k, v in fresh.state_dict().items())


def test_a_loss_that_is_not_finite_is_one_clear_line():
    with pytest.raises(SourceError, match="the loss is"):
        _train(small_network(), lr=1e30)


def test_the_best_epoch_is_kept():
    model = small_network()
    history = _train(model, keep_best=True)
    best = max(e.val_accuracy for e in history)
    data = two_shades(20, 1)
    assert accuracy(predict(model, data, Preprocess((0.5,) * 3, (0.25,) * 3)), data.labels) == best
