"""Networks taken apart, put together and mended, as somebody calls the library."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import seam
from seam.configs.modules import GradSplitterConfig, ModulesConfig
from seam.door.parts import Modules
from seam.errors import MaskError, SuspectResultWarning
from tests.seam.door.stripes import CLASSES, MEAN, STD, Net, accuracy, fitted, floats, folder, pixels, trained

QUICK = ModulesConfig(
    gradsplitter=GradSplitterConfig(cycles=1, mask_passes=5, batch_size=32, lr_scores=0.08, tolerance=0.1, shared=0.0)
)
NAMED: dict[str, Any] = {"class_names": CLASSES, "config": QUICK, "progress": False}


class Wide(nn.Module):
    """Another architecture for the same images."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 24, 5, padding=2), nn.Conv2d(24, 24, 3, stride=2, padding=1)
        self.last = nn.Linear(24, len(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.two(self.one(x).relu()).relu().mean((2, 3)))
        return logits


@cache
def _wide() -> nn.Module:
    torch.manual_seed(1)
    network = Wide()
    fitted(network, torch.optim.Adam(network.parameters(), 5e-3), 80)
    return network.eval()


@cache
def modules(method: str = "gradsplitter") -> Modules:
    return seam.modularize(trained(), floats(64, 0), val=floats(40, 1), method=method, **NAMED)


@cache
def others() -> Modules:
    return seam.modularize(
        copy.deepcopy(_wide()), floats(64, 0), val=floats(40, 1), method="decomposition", name="wide", **NAMED
    )


@pytest.mark.parametrize("kind", ["folder", "uint8 arrays", "loader"])
def test_a_network_is_taken_apart_whatever_the_images_come_as(kind: str, tmp_path: Path) -> None:
    stored = {"mean": [MEAN], "std": [STD]}
    given: dict[str, dict[str, Any]] = {
        "folder": {"train": folder(tmp_path), "image_size": 16, **stored},
        "uint8 arrays": {"train": pixels(64, 0), "val": pixels(40, 1), "class_names": CLASSES, **stored},
        "loader": {"train": DataLoader(TensorDataset(*floats(64, 0))), "val": floats(40, 1), "class_names": CLASSES},
    }
    network, drawn = trained(), torch.get_rng_state()
    before = copy.deepcopy(network.state_dict())
    network.train()
    found = seam.modularize(network, method="decomposition", progress=False, **given[kind])
    assert network.training and torch.equal(drawn, torch.get_rng_state())
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert found.classes == CLASSES and found.example.shape == (1, 3, 16, 16)
    images, labels = floats(40, 8)
    scores = torch.stack([found[name](images) for name in CLASSES], 1)
    assert (scores.argmax(1) == labels).float().mean() > 0.9
    raw = torch.from_numpy(pixels(40, 8)[0])
    if kind != "loader":
        assert torch.allclose(found["hat"](found.preprocess(raw)), found["hat"](images), atol=1e-4)


def test_the_report_says_what_modules_are() -> None:
    found = modules()
    report = found.report
    assert tuple(report["modules"]) == CLASSES
    assert report["composed_accuracy"] > 0.9 and report["source_accuracy"] == 1.0
    for name, size in report["modules"].items():
        masks = found.pieces[name].masks
        assert size["kernels"] == sum(int(m.sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())
        assert 0 < size["macs"] < size["kernels"] < 1 and size["params"] < 1
    assert "GradSplitter: 4 modules" in str(found) and "masks in common" in str(found)


def test_modules_are_a_few_kilobytes_and_are_read_again(tmp_path: Path) -> None:
    place = modules().save(tmp_path / "modules")
    assert sum(f.stat().st_size for f in place.iterdir()) < 8000
    again, images = seam.load_modules(place, trained()), floats(8, 4)[0]
    assert (again.classes, again.takes) == (modules().classes, modules().takes)
    assert again.report == json.loads(json.dumps(modules().report))
    assert torch.equal(again["hat"](images), modules()["hat"](images))
    with pytest.raises(MaskError, match="made for the source with sha256"):
        seam.load_modules(place, fresh())
    with pytest.raises(MaskError, match="expected a pack of modules"):
        seam.load_modules(tmp_path, trained())


def fresh() -> nn.Module:
    torch.manual_seed(9)
    return Net().eval()


def test_some_classes_become_a_network_without_any_training(tmp_path: Path) -> None:
    made = seam.compose(modules(), ["shoe", "boot", "hat"])
    assert made.classes == ("shoe", "boot", "hat")
    assert accuracy(made.network, [3, 0, 2]) > 0.95
    images = floats(6, 4)[0]
    expected = torch.stack([modules()[name](images) for name in made.classes], 1)
    assert torch.allclose(made.network(images), expected, atol=1e-5)
    assert made.report.macs < made.report.source_macs["source 1"]
    assert made.report.params < made.report.source_params["source 1"] and made.report.fitted_on is None
    path = seam.export(made, tmp_path / "three.onnx")
    (logits,) = onnxruntime.InferenceSession(str(path)).run(None, {"input": images.numpy()})
    assert np.allclose(logits, expected, atol=1e-4)


def test_the_better_module_of_two_architectures_is_taken_for_each_class() -> None:
    spoiled = modules().called("spoiled")
    pieces = {"boot": spoiled.pieces["coat"], **{n: spoiled.pieces[n] for n in ("coat", "hat", "shoe")}}
    spoiled = Modules(spoiled.source, pieces, spoiled.takes, spoiled.groups, {}, 4, "spoiled")
    made = seam.compose([spoiled, others()], train=floats(60, 5), class_names=CLASSES, val=floats(60, 6))
    assert made.report.chosen["boot"] == "wide" and made.report.f1["boot"]["wide"] > 0.9
    assert made.report.f1["boot"]["spoiled"] < 0.8
    assert accuracy(made.network, [0, 1, 2, 3]) > 0.9
    assert made.report.accuracy == pytest.approx(accuracy_on(made.network, floats(60, 6)))
    if len(set(made.report.chosen.values())) > 1:
        assert made.report.fitted_on == "outputs"


def accuracy_on(network: nn.Module, data: tuple[Tensor, Tensor]) -> float:
    return float((network(data[0]).argmax(1) == data[1]).double().mean())


def test_classes_of_two_networks_become_one() -> None:
    first = Modules(*of_some(modules(), ("boot", "hat"), "first"))
    second = Modules(*of_some(others(), ("coat", "shoe"), "second"))
    with pytest.warns(SuspectResultWarning, match="compared as they are; give train"):
        made = seam.compose([first, second])
    assert made.report.chosen == {"boot": "first", "hat": "first", "coat": "second", "shoe": "second"}
    assert made.report.doubts and made.report.accuracy is None
    made = seam.compose([first, second], CLASSES, train=floats(80, 5), class_names=CLASSES)
    assert made.report.fitted_on == "outputs" and accuracy(made.network, [0, 1, 2, 3]) > 0.9


def of_some(found: Modules, names: tuple[str, ...], name: str) -> tuple[Any, ...]:
    return (found.source, {n: found.pieces[n] for n in names}, found.takes, found.groups, {}, found.outputs, name)


@cache
def weak() -> nn.Module:
    """Knows three classes, and was never shown a coat."""
    torch.manual_seed(3)
    network, (images, labels) = Wide(), floats(160, 0)
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    for _ in range(80):
        loss = nn.functional.cross_entropy(network(images[labels != 1]), labels[labels != 1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def test_a_module_mends_a_model_that_does_not_know_its_class(tmp_path: Path) -> None:
    model = copy.deepcopy(weak())
    made = seam.patch(model, modules()["coat"], floats(120, 5), val=floats(120, 6), class_names=CLASSES)
    assert made.accepted and made.report.before.recall == 0 and made.report.after.f1 > 0.9
    assert made.report.rest_after >= made.report.rest_before
    images, labels = floats(80, 9)
    assert float((made.network(images).argmax(1) == labels).float().mean()) > 0.9
    assert torch.equal(made.network(images)[:, [0, 2, 3]], weak()(images)[:, [0, 2, 3]])
    path = seam.export(made, tmp_path / "mended.onnx")
    (logits,) = onnxruntime.InferenceSession(str(path)).run(None, {"input": images.numpy()})
    assert np.allclose(logits, made.network(images), atol=1e-3)
    assert "accepted" in str(made.report) and made.report.params[1] > made.report.params[0]


def test_a_patch_that_helps_nothing_is_not_accepted() -> None:
    network = trained()
    with pytest.warns(SuspectResultWarning, match="not accepted"):
        made = seam.patch(network, modules()["coat"], floats(80, 5), val=floats(80, 6), class_names=CLASSES)
    assert not made.accepted and made.report.before.f1 == 1
    images = floats(8, 2)[0]
    assert torch.equal(made.network(images), network(images))
