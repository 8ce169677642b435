"""Training of parts: the rest stays bit for bit, its norms too, and the teacher's answers are a part of the loss."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from seam.configs.methods import PartlyConfig
from seam.networks.source import Preprocess
from seam.training.loop import Epoch
from seam.training.partly import train_partly
from tests.seam.blocks import Chain, drawn
from tests.seam.training.bright import RUNTIME, two_shades

GREY = Preprocess((0.5,) * 3, (0.25,) * 3)
CONFIG = PartlyConfig(epochs=8, batch_size=8, augment="none", lr=0.05, lr_full=0.05)
TRAIN, VAL = two_shades(), two_shades(20, 1)


def trained(names: tuple[str, ...], config: PartlyConfig = CONFIG, **how: object) -> tuple[nn.Module, list[Epoch]]:
    network = drawn(Chain(2))
    history = train_partly(network, names, GREY, TRAIN, VAL, config, RUNTIME, 0, **how)
    return network, history


def test_only_the_named_parts_change() -> None:
    names = ("wider", "fc")
    network, history = trained(names)
    before = drawn(Chain(2)).state_dict()
    changed = {k for k, v in network.state_dict().items() if not torch.equal(v, before[k])}
    inside = {k for k in before if k.startswith(tuple(f"{name}." for name in names))}
    assert changed == inside, "every tensor of the parts, statistics of norms among them, and nothing else"
    assert len(history) == 9
    assert not network.training and not any(p.requires_grad for p in network.parameters())


def test_all_of_it_at_a_rate_of_its_own() -> None:
    network, _ = trained(("",))
    before = drawn(Chain(2)).state_dict()
    assert all(not torch.equal(v, before[k]) for k, v in network.state_dict().items())
    slow, _ = trained(("",), replace(CONFIG, lr_full=1e-9))
    moved = [float((slow.get_parameter(n) - before[n]).abs().max()) for n, _ in slow.named_parameters()]
    assert max(moved) < 1e-6


def test_a_teacher_adds_its_term() -> None:
    teacher = drawn(Chain(2))
    nn.init.constant_(teacher.fc.bias, 3.0)
    _, alone = trained(("fc",))
    _, taught = trained(("fc",), teacher=teacher)
    _, not_asked = trained(("fc",), replace(CONFIG, distill=0.0), teacher=teacher)
    assert taught[1].loss > taught[1].cross_entropy
    assert alone[1].loss == pytest.approx(alone[1].cross_entropy) == pytest.approx(not_asked[1].loss)


def test_a_killed_training_goes_on_to_the_same(tmp_path: Path) -> None:
    whole, _ = trained(("wider",))

    class Killed(Exception):
        pass

    def kill(epoch: Epoch) -> None:
        raise Killed

    place = {"checkpoint": tmp_path / "state.safetensors", "key": "k"}
    with pytest.raises(Killed):
        trained(("wider",), on_epoch=kill, **place)
    again, history = trained(("wider",), **place)
    assert len(history) == 9
    assert all(torch.equal(v, whole.state_dict()[k]) for k, v in again.state_dict().items())
