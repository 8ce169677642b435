"""The setting a student is trained with: the best on val, of one list, and what becomes of a killed choice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from seam.configs.check import ConfigValueError
from seam.configs.methods import TransferConfig
from seam.configs.training import StudentTraining, TrainingSetting
from seam.errors import DivergedError, SuspectResultWarning
from seam.methods.protocol import Target, Watch
from seam.methods.student_training import TriedSetting
from seam.methods.transfer import Transferred, transfer
from seam.networks.predict import accuracy, predict
from seam.training.loop import Epoch
from tests.seam.methods.small import CONFIG, RUNTIME, TRAINING

SLOW, GOOD, WILD = TrainingSetting(lr=1e-6, lr_head=1e-6), TrainingSetting(momentum=0.9), TrainingSetting(lr=1e20)


def with_settings(*settings: TrainingSetting) -> TransferConfig:
    return replace(CONFIG, settings=settings)


def same_student(a: Transferred, b: Transferred) -> bool:
    return all(torch.equal(v, b.student.state_dict()[k]) for k, v in a.student.state_dict().items())


def test_what_a_setting_does_not_name_is_the_trainings() -> None:
    training = StudentTraining(epochs=7, lr=0.3, momentum=0.5, weight_decay=0.1)
    changed = TrainingSetting(lr=0.1, schedule="cosine", head_start="fitted").over(training)
    assert changed == replace(training, lr=0.1, schedule="cosine", head_start="fitted")
    assert TransferConfig().trainings(training) == (training,)
    assert TransferConfig(settings=(TrainingSetting(lr=0.1), TrainingSetting())).trainings(training) == (
        replace(training, lr=0.1),
        training,
    )
    with pytest.raises(ValueError, match="settings must differ from each other"):
        TransferConfig(settings=(GOOD, GOOD))
    with pytest.raises(ConfigValueError, match="lr must be null or > 0, got 0"):
        TrainingSetting(lr=0.0)


@pytest.mark.parametrize("method", ["standard", "magnitude", "retrain"])
def test_the_planted_best_is_chosen_and_is_the_student_of_that_setting_alone(
    method: str, source: nn.Module, target: Target
) -> None:
    done = transfer(method, source, target, with_settings(SLOW, WILD, GOOD), RUNTIME, 0)
    alone = transfer(method, source, target, with_settings(GOOD), RUNTIME, 0)
    assert done.chosen == 2 and done.epochs == alone.epochs and same_student(done, alone)
    slow, wild, good = done.tried
    assert wild.epochs == () and wild.kept is None  # its loss was not finite
    assert slow.kept is not None and good.kept is not None and slow.kept.val_accuracy < good.kept.val_accuracy
    reached = accuracy(predict(done.student, target.val, target.preprocess), target.val.labels)
    assert reached == good.kept.val_accuracy
    assert done.start.student is done.student
    assert done.passes == 2 * done.epochs[-1].epoch and alone.passes == done.epochs[-1].epoch


def test_a_search_is_run_once_for_all_settings(source: nn.Module, target: Target) -> None:
    rounds: list[object] = []
    numbers: list[int] = []
    watch = Watch(on_round=rounds.append, on_setting=numbers.append)
    done = transfer("seam", source, target, with_settings(SLOW, GOOD), RUNTIME, 0, watch)
    assert len(rounds) == 2 and numbers == [0, 1] and done.passes == 2 + 4 + 4


def test_without_a_finite_loss_there_is_no_student(source: nn.Module, target: Target) -> None:
    wilder = replace(WILD, momentum=0.5)
    with pytest.raises(DivergedError, match="a finite loss with one of 2 settings, got none"):
        transfer("standard", source, target, with_settings(WILD, wilder), RUNTIME, 0)


@pytest.mark.filterwarnings("error")
def test_the_student_chosen_alone_is_doubted(source: nn.Module, target: Target) -> None:
    still = replace(SLOW, lr=1e-12, lr_head=1e-12)
    transfer("standard", source, target, with_settings(still, GOOD), RUNTIME, 0)
    with pytest.warns(SuspectResultWarning, match="transfer: epoch 0 was kept") as found:
        transfer("standard", source, target, with_settings(replace(still, head_start="fitted"), still), RUNTIME, 0)
    assert len([w for w in found if "epoch 0 was kept" in str(w.message)]) == 1


@pytest.mark.parametrize(("keep", "kept"), [("best", 1), ("last", 2)])
def test_the_epoch_that_is_kept(keep: str, kept: int) -> None:
    epochs = tuple(Epoch(i, None, value) for i, value in enumerate((0.1, 0.5, 0.4)))
    setting = TriedSetting(replace(TRAINING, keep=keep), epochs)
    assert setting.kept is epochs[kept]


def test_a_killed_choice_goes_on_in_the_setting_it_was_in(
    source: nn.Module, target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where no state was due for a while: a finished setting is kept."""
    monkeypatch.setattr("seam.checkpoint.SAVE_SECONDS", 1e9)
    config = with_settings(SLOW, GOOD)
    whole = transfer("magnitude", source, target, config, RUNTIME, 0)

    class Killed(Exception):
        pass

    def kill_in(second: list[int]) -> Callable[[Epoch], None]:
        def tell(epoch: Epoch) -> None:
            if len(second) == 2 and epoch.epoch == 2:
                raise Killed

        return tell

    numbers: list[int] = []
    watch = Watch(tmp_path, on_epoch=kill_in(numbers), on_setting=numbers.append)
    with pytest.raises(Killed):
        transfer("magnitude", source, target, config, RUNTIME, 0, watch)
    seen: list[Epoch] = []
    resumed = transfer("magnitude", source, target, config, RUNTIME, 0, Watch(tmp_path, on_epoch=seen.append))
    assert [epoch.epoch for epoch in seen] == [1, 2, 3, 4]  # those of the second setting
    assert resumed.tried == whole.tried and same_student(resumed, whole)
