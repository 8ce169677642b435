"""The front door to networks of other kinds: grey images, several outputs, one logit, layers too narrow for blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import TensorDataset

import seam
from seam.configs.methods import TransferConfig
from seam.configs.training import FinetuneConfig, StudentTraining
from seam.door.given import labelled
from seam.errors import SuspectResultWarning
from tests.seam.door.stripes import pixels

BRIEF = FinetuneConfig(epochs=1, lr=0.02, lr_head=0.02, momentum=0.9, schedule="cosine")
SHORT = TransferConfig(training=StudentTraining(epochs=1))


class Narrow(nn.Module):
    """Twelve channels: less than a block of those that engines compute at once."""

    def __init__(self, channels: int, outputs: int, form: Any = lambda scores, features: scores) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.linear, self.form = nn.Conv2d(channels, 12, 3), nn.Linear(12, outputs), form

    def forward(self, x: Tensor) -> Any:
        features = F.relu(self.conv(x)).mean((2, 3))
        return self.form(self.linear(features), features)


KINDS: dict[str, tuple[int, int, Any]] = {
    "grey": (1, 4, lambda scores, features: scores),
    "four channels": (4, 4, lambda scores, features: scores),
    "mapping": (3, 4, lambda scores, features: {"logits": scores, "features": features}),
    "tuple": (3, 4, lambda scores, features: (features, scores)),
    "one logit": (3, 1, lambda scores, features: scores),
}


def images(channels: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = pixels(48, 0)
    return np.concatenate([x, x], 3)[..., :channels], y % classes


@pytest.mark.filterwarnings("ignore::seam.errors.SuspectResultWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_is_reengineered_transferred_and_exported(kind: str, tmp_path) -> None:
    channels, outputs, form = KINDS[kind]
    network, given = Narrow(channels, outputs, form), images(channels, max(outputs, 2))
    classes = [0, 2] if outputs > 1 else [1]
    small = seam.reengineer(network, given, classes, training=BRIEF, progress=False)
    assert type(network) is Narrow, "the caller's is as it was"
    assert small.example.shape[1] == channels
    assert 0 < int(small.masks["conv.weight"][:, 0, 0, 0].sum()) < 12
    x = small.preprocess(torch.from_numpy(given[0][:5]))
    session = onnxruntime.InferenceSession(seam.export(small, tmp_path / "small.onnx"))
    (got,) = session.run(None, {"input": x.numpy()})
    assert np.abs(got - small.network(x).numpy()).max() < 1e-4
    exact = seam.compact(network, small.masks, small.example)
    all_stay = kind in ("mapping", "tuple")  # the features are an output, too
    assert (exact.conv.out_channels == 12) is all_stay
    student = seam.transfer(
        network, (given[0], given[1] % 2), method="standard", config=SHORT, class_names=["a", "b"], progress=False
    )
    assert student.network(x).shape == (5, 2)


def test_a_share_of_the_time_that_no_layout_reaches_is_said() -> None:
    with pytest.warns(SuspectResultWarning, match="takes 40% of the milliseconds.*up to 70% of the multiply-adds"):
        seam.reengineer(Narrow(3, 4), images(3, 4), [0, 2], training=BRIEF, progress=False)


def test_a_network_that_is_right_by_chance_is_doubted() -> None:
    network = Narrow(3, 4)
    with torch.no_grad():
        network.linear.bias[0] = 1e3  # class 0 whatever the image
    with pytest.warns(SuspectResultWarning, match=r"is right on 50% of val, no more often than by chance: check the"):
        seam.reengineer(network, images(3, 4), [0, 2], training=BRIEF, progress=False)


class Synonyms(TensorDataset):
    """Two classes of the same name, as of ImageNet, and several names of one."""

    classes = (("crane", "bird"), "boot", "crane", "crane")


def test_names_of_a_data_set_are_one_text_a_class() -> None:
    found = labelled(Synonyms(torch.zeros(4, 3, 8, 8), torch.arange(4)), "train", None)
    assert found.classes == ("crane, bird", "boot", "crane (2)", "crane (3)")


WRAPPED = {
    "compiled": torch.compile,
    "for several devices": nn.DataParallel,
    "averaged": AveragedModel,
    "compiled and averaged": lambda network: AveragedModel(nn.DataParallel(network)),
}


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_what_is_put_around_a_network_is_taken_off(wrapped: str, tmp_path: Path) -> None:
    network, x = Narrow(3, 4), torch.randn(5, 3, 16, 16)
    mask = torch.arange(12).view(-1, 1, 1, 1).expand(12, 3, 3, 3) < 7
    around = WRAPPED[wrapped](network)
    smaller = seam.compact(around, {"conv.weight": mask, "conv.bias": mask[:, 0, 0, 0]}, x)
    assert type(smaller).__name__ == "Narrow" and smaller.conv.out_channels == 7
    path = seam.export(around, tmp_path / "whole.onnx", x)
    (found,) = onnxruntime.InferenceSession(str(path)).run(None, {"input": x.numpy()})
    with torch.no_grad():
        assert np.abs(found - network(x).numpy()).max() < 1e-4
