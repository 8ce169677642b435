"""The front door to a choice among trained networks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import seam
from seam.configs.selection import SelectConfig
from seam.door.candidates import Candidate
from seam.errors import DataError, SourceError
from seam.measures.transferability.rows import ESTIMATES
from tests.seam.door.stripes import CLASSES, MEAN, STD, Net, floats, folder, pixels, trained

QUICK = SelectConfig(images=120, attacked=16, attack_steps=3, resamples=200, milliseconds=False)
GIVEN = {"mean": [MEAN], "std": [STD], "progress": False, "config": QUICK}


def fresh() -> Net:
    """Random weights, behind a first layer that blurs the stripes."""
    torch.manual_seed(1)
    network = Net().eval()
    nn.init.constant_(network.stem.weight, 1 / 27)
    return network


class Wide(nn.Module):
    """Takes images of 64 pixels only."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 64 * 64, 5)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.linear(x.flatten(1))
        return scores


def test_the_trained_network_is_first_and_what_cannot_be_judged_has_a_reason(tmp_path: Path) -> None:
    def broken() -> nn.Module:
        raise OSError("no such file")

    random = fresh()
    candidates = {
        "fresh": random,
        "broken": Candidate(load=broken, licence="MIT", origin="a file"),
        "trained": Candidate(load=trained, licence="BSD-3-Clause", public=True),
        "wide": Wide(),
    }
    before = {k: v.clone() for k, v in random.state_dict().items()}
    found = seam.select(candidates, folder(tmp_path / "stripes", 160), **GIVEN)
    assert all(torch.equal(before[k], v) for k, v in random.state_dict().items())
    assert [choice.name for choice in found.choices] == ["trained", "fresh", "broken", "wide"]
    best, second, unread, refused = found.choices
    assert found.best is best and found.classes == CLASSES and found.images == 120
    assert list(best.estimates) == list(ESTIMATES) and best.estimates["probe"] > 0.95
    assert best.likely_best > 0.9 and found.first_beats_second > 0.9
    assert best.likely_best + second.likely_best == pytest.approx(1)
    low, high = best.probe_interval
    assert low < best.estimates["probe"] <= high
    assert best.macs > 0 and best.params_total == sum(
        p.numel() for n, p in trained().named_parameters() if not n.startswith("norm")
    )
    assert 0 <= best.exposure <= 1 and best.latency_ms_p50 is None
    assert (best.licence, best.public, second.licence) == ("BSD-3-Clause", True, "unknown")
    assert unread.reason == "OSError: no such file" and unread.licence == "MIT" and unread.estimates is None
    assert "does not take images of 16x16 pixels" in refused.reason.replace(" x ", "x")
    json.dumps(found.to_dict())
    text = str(found)
    assert "broken: not judged: OSError: no such file" in text and "By probe, likelihood, trained is ahead" in text


def test_what_was_computed_is_kept_by_what_it_was_computed_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = list[str]()

    class Counted(Net):
        def forward(self, x: Tensor) -> Tensor:
            runs.append("pass")
            return super().forward(x)

    def counted() -> Net:
        network = Counted()
        network.load_state_dict(trained().state_dict())
        return network.eval()

    given = {**GIVEN, "folder": tmp_path / "kept"}
    first = seam.select({"a": counted()}, pixels(160, 0), **given)
    once = len(runs)
    again = seam.select({"renamed": counted(), "b": fresh()}, pixels(160, 0), **given)
    assert len(runs) - once <= 2  # that it takes the images is tried
    renamed = next(choice for choice in again.choices if choice.name == "renamed")
    assert renamed.estimates == first.best.estimates and renamed.exposure == first.best.exposure
    other = seam.select({"a": counted()}, pixels(160, 5), **given)
    assert other.best.estimates["logme"] != first.best.estimates["logme"]


def test_an_interrupted_call_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = list[int]()
    whole = seam.door.candidates.look

    def look(network: nn.Module, images: Tensor, *rest: object) -> object:
        if len(looked) == 1:
            looked.append(0)
            raise KeyboardInterrupt
        looked.append(len(images))
        return whole(network, images, *rest)

    monkeypatch.setattr("seam.door.candidates.look", look)
    given = {**GIVEN, "folder": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        seam.select({"a": trained(), "b": fresh()}, pixels(160, 0), **given)
    found = seam.select({"a": trained(), "b": fresh()}, pixels(160, 0), **given)
    assert looked == [120, 0, 120]
    alone = seam.select({"a": trained(), "b": fresh()}, pixels(160, 0), **GIVEN)
    assert [c.estimates for c in alone.choices] == [c.estimates for c in found.choices]


def test_images_as_floats_and_a_time(tmp_path: Path) -> None:
    config = SelectConfig(images=80, attacked=0, resamples=100)
    found = seam.select({"trained": trained()}, floats(80, 0), class_names=CLASSES, config=config, progress=False)
    assert found.best.latency_ms_p50 > 0 and found.best.exposure is None and found.first_beats_second is None
    assert found.best.normalisation == "as the images come"


def test_few_images_leave_some_for_the_student_that_is_attacked(monkeypatch: pytest.MonkeyPatch) -> None:
    attacked = list[int]()

    def exposure(network: nn.Module, images: Tensor, *rest: object) -> float:
        attacked.append(len(images))
        return 0.5

    monkeypatch.setattr("seam.door.candidates.exposure", exposure)
    config = SelectConfig(images=40, attacked=64, milliseconds=False)
    found = seam.select({"a": trained()}, pixels(40, 0), mean=[MEAN], std=[STD], config=config, progress=False)
    assert attacked == [8] and found.best.exposure == 0.5  # two of each of four classes


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(SourceError, match="expected networks to choose from, got none"):
        seam.select({}, pixels(80, 0), **GIVEN)
    with pytest.raises(SourceError, match="expected a network that can be judged, got none; wide: "):
        seam.select({"wide": Wide()}, pixels(80, 0), **GIVEN)
    with pytest.raises(DataError, match=r"expected labels in 0\.\.1"):
        seam.select({"a": trained()}, pixels(80, 0), class_names=("a", "b"), **GIVEN)
    with pytest.raises(SourceError, match="at least 5 images each"):
        seam.select({"a": trained()}, pixels(12, 0), **GIVEN)
