"""The front door to a network for other classes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML

import seam
from seam.configs.methods import SETTINGS, TransferConfig
from seam.configs.search import TransferSearchConfig
from seam.configs.training import StudentTraining
from seam.errors import ConfigError
from tests.seam.door.stripes import MEAN, STD, accuracy, floats, folder, trained

BRIEF = TransferConfig(
    search=TransferSearchConfig(rounds=3),
    training=StudentTraining(epochs=3, batch_size=16),
    settings=SETTINGS[1:3],
)
pytestmark = pytest.mark.filterwarnings("ignore::seam.errors.SuspectResultWarning")


@pytest.mark.parametrize("method", ["seam", "standard"])
def test_a_student_of_other_classes(method: str, tmp_path: Path) -> None:
    """Three of the stripes in another order are classes it was not trained for."""
    network = trained()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    images, labels = floats(120, 0)
    few = labels < 3
    student = seam.transfer(
        network,
        (images[few], 2 - labels[few]),
        method=method,
        class_names=["c", "b", "a"],
        config=BRIEF,
        folder=tmp_path,
        progress=False,
    )
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert student.classes == ("c", "b", "a")
    assert accuracy(student.network, [2, 1, 0]) > 0.9
    assert bool(student.masks) == (method == "seam")
    assert seam.export(student, tmp_path / "student.onnx").is_file()
    assert student.report.result.accuracy is not None
    assert student.report.source.accuracy is None


def test_as_much_is_removed_as_was_asked_for(tmp_path: Path) -> None:
    student = seam.transfer(
        trained(),
        folder(tmp_path),
        method="magnitude",
        removal=0.25,
        config=BRIEF,
        mean=[MEAN],
        std=[STD],
        progress=False,
    )
    kept = sum(int(m.sum()) for m in student.masks.values()) / sum(m.numel() for m in student.masks.values())
    assert kept == pytest.approx(0.75, abs=1e-3)
    assert "25% of the convolutions' weights removed" in str(student.report)


def test_the_settings_are_those_of_the_published_comparison() -> None:
    preset = YAML(typ="safe").load(Path(__file__).parents[3] / "presets" / "rq3.yaml")
    assert [asdict(setting) for setting in SETTINGS] == preset["transfer"]["settings"]


def test_a_method_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="seem"):
        seam.transfer(trained(), floats(40, 0), method="seem", progress=False)
