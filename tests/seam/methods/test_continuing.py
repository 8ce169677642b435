"""The training of a student that was killed continues on the same data, and on no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from seam.configs.runtime import RuntimeConfig
from seam.configs.training import StudentTraining
from seam.data.images import LabelledImages
from seam.methods.protocol import Target, Watch, fresh_student
from seam.methods.student_training import train_student
from seam.networks.source import Preprocess
from seam.runtime import start
from seam.training.loop import Epoch
from tests.seam.changed_data import mirrored, same, swapped
from tests.seam.left_or_right import left_or_right

CONFIG = StudentTraining(epochs=4, lr=0.01, lr_head=0.01, batch_size=32, augment="none", head_start="fitted")
RUNTIME = start(RuntimeConfig(device="cpu", precision="fp32", threads=1), pixels=64)
TARGET = Target(left_or_right(0), left_or_right(1), Preprocess((0.3,) * 3, (0.3,) * 3), 2)


def _epochs(target: Target, folder: Path, kill_at: int | None = None, brightness: float = 0.0) -> list[int]:
    """The epochs that are trained now."""
    torch.manual_seed(0)
    source = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5))
    with torch.no_grad():
        source[0].bias.add_(torch.tensor([brightness, -brightness, 0, 0]))  # the same sum
    seen: list[int] = []

    def on_epoch(epoch: Epoch) -> None:
        seen.append(epoch.epoch)
        if epoch.epoch == kill_at:
            raise KeyboardInterrupt

    learner = fresh_student(source.eval(), target, 0)
    train_student(learner, None, target, CONFIG, RUNTIME, 0, Watch(folder, on_epoch=on_epoch))
    return seen


@pytest.mark.parametrize(("change", "first"), [(same, 4), (swapped, 1), (mirrored, 1)])
def test_it_continues_on_the_same_data_alone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[LabelledImages], LabelledImages],
    first: int,
) -> None:
    monkeypatch.setattr("seam.checkpoint.SAVE_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        _epochs(TARGET, tmp_path, kill_at=3)
    assert _epochs(replace(TARGET, train=change(TARGET.train)), tmp_path)[0] == first


def test_it_starts_anew_from_other_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seam.checkpoint.SAVE_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        _epochs(TARGET, tmp_path, kill_at=3)
    assert _epochs(TARGET, tmp_path, brightness=0.5)[0] == 1
