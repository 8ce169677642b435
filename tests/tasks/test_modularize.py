"""The stage that takes the source apart: what it writes, that modules load with it, and what it refuses."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

import seam
from flows.closing import show_closing, show_next
from seam.composition.composed import Composed
from seam.data.images import images_of
from seam.data.prepared import load_prepared
from seam.errors import DataError, NoChannelsError
from seam.files import read_json
from seam.methods.catalogue import MODULES, names
from seam.networks.predict import accuracy, predict
from seam.networks.source import load_source
from tasks.inputs.splits import unseen_split
from tasks.modularize import modularize
from tasks.prepare_source import prepare_source
from tasks.project.params import Params, parse_params
from tasks.project.stage import StageContext, execute
from tasks.project.stages import MODULARIZATION
from tasks.project.subject import Subject
from tasks.validate_data import validate_data
from tests.tasks.transfer_project import CLASSES, make_images

NETWORK = """
from torch import nn


def narrow(num_classes, width=12):
    first = [nn.Conv2d(3, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    second = [nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*first, *second, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))


def wide(num_classes):
    return narrow(num_classes, 16)


def pinned(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(768, num_classes))
"""
BRIEF = {
    "gradsplitter": {"cycles": 3, "pass_images": None, "tolerance": 0.2, "batch_size": 8},
    "cnnsplitter": {"population": 4, "generations": 2, "images": 24},
    "decomposition": {"form": "channels"},
    "seam_modules": {"max_rounds": 2, "target": 0.5, "accuracy_floor": 0.0, "norm_layers": "frozen"},
}
VALUES: dict[str, Any] = {
    "problems": {"warm": ["red"]},
    "runtime": {"device": "cpu", "precision": "fp32", "threads": 1},
    "data": {"kind": "image_folder", "path": "flowers", "image_size": 16},
    "prepare_source": {"architecture": "net.py:narrow", "epochs": 8, "batch_size": 8},
    "profile_source": {"repeats": 10, "batch_size": 2},
    "modularizations": {"parts": BRIEF},
}


def context(root: Path, stage: str = "modularize", **changes: Any) -> StageContext:
    subject = Subject("modularization", "parts") if stage == "modularize" else None
    return StageContext(stage, parse_params({**VALUES, **changes}, "test"), root, subject)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_images(tmp_path / "flowers")
    (tmp_path / "net.py").write_text(NETWORK)
    validate_data(context(tmp_path, "validate_data"))
    prepare_source(context(tmp_path, "prepare_source"))
    return tmp_path


@pytest.mark.parametrize("method", names(MODULES))
def test_its_result_is_a_pack_and_the_source_it_belongs_to(project: Path, method: str) -> None:
    result = execute(modularize, context(project, modularizations={"parts": {**BRIEF, "method": method}}))
    folder = project / "artifacts/parts/modularize"
    written = {Path(f).name for f in result.files}
    assert {"modules", "source.safetensors", "source.json", "metrics.json", "report.html"} < written
    source, metrics = load_source(folder), read_json(folder / "metrics.json")
    modules = seam.load_modules(folder / "modules", source.network)
    assert modules.classes == tuple(CLASSES) and modules.name == "parts"
    data = load_prepared(project / "artifacts/validate_data/dataset.safetensors")
    test = images_of(data, "test", np.arange(len(data.y_test)))
    together = Composed([modules[name].network for name in CLASSES], modules.example).eval()
    logits = predict(together, test, modules.preprocess)
    assert accuracy(logits, test.labels) == metrics["composed"]["accuracy"] == result.summary["accuracy"]
    counts = torch.tensor(metrics["composed"]["confusion"])
    assert counts.sum() == metrics["num_test"] and int(counts.trace()) == round(
        metrics["composed"]["accuracy"] * metrics["num_test"]
    )
    assert 0 < metrics["kernels"] <= 1 and set(metrics["modules"]) == set(CLASSES)
    mark = read_json(project / "artifacts/modularized/parts.json")
    assert mark["source_sha256"] == read_json(folder / "source.json")["sha256"]
    assert mark["pack_sha256"] == read_json(folder / "modules/modules.json")["sha256"]
    page = (folder / "report.html").read_text()
    assert f"into {len(CLASSES)} modules by {metrics['label']}" in page and page.count("<svg") == 4


def test_the_page_and_the_metrics_are_of_a_source_of_its_own(project: Path) -> None:
    own = {"architecture": "net.py:wide", "epochs": 1, "lr": 1e-9}
    execute(
        modularize, context(project, modularizations={"parts": {**BRIEF, "method": "decomposition", "source": own}})
    )
    folder = project / "artifacts/parts/modularize"
    source, metrics, page = (
        load_source(folder),
        read_json(folder / "metrics.json"),
        (folder / "report.html").read_text(),
    )
    assert metrics["architecture"] == source.info.architecture == "net.py:wide"
    assert "net.py:wide, taken apart into" in page and "net.py:narrow" not in page
    assert "modularization.source.epochs" in page
    assert set(seam.load_modules(folder / "modules", source.network)) == set(CLASSES)
    assert load_source(project / "artifacts/prepare_source").info.architecture == "net.py:narrow"
    (doubt,) = source.info.warnings
    assert doubt.startswith("the source is near chance") and doubt in metrics["warnings"] and "<h2>Doubts</h2>" in page


def test_one_that_was_stopped_ends_the_same(project: Path) -> None:
    pack = project / "artifacts/parts/modularize/modules/modules.json"
    modularize(context(project))
    whole = read_json(pack)["sha256"]

    def stop(share: float, text: str) -> None:
        if text.startswith("cycle 2/3"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        modularize(replace(context(project), progress=stop))
    assert read_json(pack)["sha256"] == whole, "what was published stays until there is a new one"
    again: list[str] = []
    modularize(replace(context(project), progress=lambda share, text: again.append(text)))
    assert [text.split(",")[0] for text in again[:-1]] == ["cycle 3/3"]
    assert read_json(pack)["sha256"] == whole


def test_its_closing(project: Path) -> None:
    modularize(context(project))
    console = Console(record=True, width=200)
    params = Params.model_validate(VALUES)
    show_closing(project, params, MODULARIZATION, [Subject("modularization", "parts")], console, finished=True)
    show_next({MODULARIZATION: [Subject("modularization", "parts")]}, console)
    said = [line.strip() for line in console.export_text().splitlines()]
    assert any(line.startswith(f"parts ({len(CLASSES)} modules, ") for line in said)
    assert any(line.startswith("│ accuracy (test)") for line in said)
    assert "report   artifacts/parts/modularize/report.html" in said
    assert any(line.startswith("seam report --modularization parts --open") for line in said)


def test_a_network_without_channels_is_one_line_and_publishes_nothing(project: Path) -> None:
    changed = {**VALUES["prepare_source"], "architecture": "net.py:pinned"}
    prepare_source(context(project, "prepare_source", prepare_source=changed))
    with pytest.raises(NoChannelsError) as refused:
        execute(modularize, context(project, prepare_source=changed))
    assert "\n" not in str(refused.value)
    assert not (project / "artifacts/parts/modularize").exists() and not (project / "artifacts/modularized").exists()


def test_a_class_without_images_in_val_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(inspect.unwrap(modularize).__globals__, "unseen_split", _without_a_class)
    with pytest.raises(DataError, match=rf"^val: expected images of every class, none of: {CLASSES[0]}; add some"):
        modularize(context(project))


def _without_a_class(params: Params, data: Any, seen: bool) -> Any:
    split = unseen_split(params, data, seen=seen)
    labels = images_of(data, split.val_split, split.val).labels.numpy()
    return replace(split, val=split.val[labels != 0])
