"""Fixtures of the tests of methods."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from seam.methods.catalogue import STUDENTS
from seam.methods.protocol import StartingPoint, Target
from seam.networks.source import Preprocess
from seam.training.loop import TrainingPlan, train
from tests.seam.methods.small import CONFIG, RUNTIME, Small, begin, data


@pytest.fixture(autouse=True, scope="module")
def _short() -> Iterator[None]:
    """Every round is saved; the first ranking of the search takes few batches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seam.checkpoint.SAVE_SECONDS", 0.0)
        patch.setattr("seam.search.saliency.SALIENCY_STEPS", 8)
        yield


@pytest.fixture(scope="module")
def target() -> Target:
    return Target(data(90, 0, 3), data(30, 1, 3), Preprocess((0.4,) * 3, (0.25,) * 3), 3)


@pytest.fixture(scope="module")
def trained(target: Target) -> nn.Module:
    """A source that knows the four corners."""
    torch.manual_seed(0)
    network = Small()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    plan = TrainingPlan(4, 16, "none", 0, cosine=False, keep_best=False)
    train(network, optimizer, target.preprocess, data(120, 2, 4), data(40, 3, 4), plan, RUNTIME)
    return network.eval()


@pytest.fixture
def source(trained: nn.Module) -> nn.Module:
    return copy.deepcopy(trained)


@pytest.fixture(scope="module")
def begun(trained: nn.Module, target: Target) -> dict[str, StartingPoint]:
    """Where every method starts, with seed 1; not to be changed."""
    return {m.name: begin(m.name, trained, target, CONFIG, 1) for m in STUDENTS}
