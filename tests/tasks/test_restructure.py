"""The stage that restructures the source: what it writes, that this is a source, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow.pyfunc import load_model
from rich.console import Console
from ruamel.yaml import YAML

from flows.closing import show_closing, show_next
from seam.data.images import images_of
from seam.data.prepared import load_prepared
from seam.errors import ConfigError, SourceError
from seam.files import read_json, sha256_file
from seam.networks.build import build
from seam.networks.predict import accuracy, predict
from seam.networks.source import load_source
from seam.networks.state_dicts import load_weights
from tasks.prepare_source import prepare_source
from tasks.project.environment import tracking_uri
from tasks.project.params import Params, parse_params
from tasks.project.stage import StageContext, execute
from tasks.project.stages import RESTRUCTURING
from tasks.project.subject import Subject
from tasks.register_restructuring import register_restructuring
from tasks.restructure import restructure
from tasks.validate_data import validate_data
from tests.defaults import give_registry
from tests.tasks.transfer_project import CLASSES, make_images

NETWORK = """
from torch import nn


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)

    def forward(self, x):
        return (x + self.norm(self.conv(x))).relu()


def deep(num_classes):
    stem = [nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes)]
    return nn.Sequential(*stem, *(Residual() for _ in range(4)), *pooled)


def plain(num_classes):
    body = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*body, nn.Linear(8, num_classes))
"""
BRIEF = {
    "threshold": 0.0,
    "blocks": 2,
    "images": 32,
    "batch_size": 16,
    "random_draws": 2,
    "trained_share": 0.5,
    "training": {"epochs": 2, "batch_size": 8, "lr": 0.005},
}
VALUES: dict[str, Any] = {
    "problems": {"warm": ["red"]},
    "runtime": {"device": "cpu", "precision": "fp32", "threads": 1},
    "data": {"kind": "image_folder", "path": "flowers", "image_size": 16},
    "prepare_source": {"architecture": "net.py:deep", "epochs": 8, "batch_size": 8},
    "profile_source": {"repeats": 10, "batch_size": 2},
    "restructurings": {"flat": BRIEF},
}


def context(root: Path, stage: str = "restructure", **changes: Any) -> StageContext:
    subject = Subject("restructuring", "flat") if stage == "restructure" else None
    return StageContext(stage, parse_params({**VALUES, **changes}, "test"), root, subject)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_images(tmp_path / "flowers")
    (tmp_path / "net.py").write_text(NETWORK)
    validate_data(context(tmp_path, "validate_data"))
    prepare_source(context(tmp_path, "prepare_source"))
    return tmp_path


def test_its_result_is_a_source(project: Path) -> None:
    result = restructure(context(project))
    folder = project / "artifacts/flat/restructure"
    assert {Path(f).name for f in result.files} == {
        *("network.py", "network.safetensors", "source.yaml"),
        *("segments.json", "metrics.json", "cka.svg", "report.html"),
    }
    metrics = read_json(folder / "metrics.json")
    removed = metrics["change"]["removed"]
    assert len(removed) == result.summary["removed"] == 2
    network = build("artifacts/flat/restructure/network.py:network", len(CLASSES))
    load_weights(network, folder / "network.safetensors")
    source = load_source(project / "artifacts/prepare_source")
    assert set(network.state_dict()) == {
        k for k in source.network.state_dict() if not k.startswith(tuple(f"{name}." for name in removed))
    }
    data = load_prepared(project / "artifacts/validate_data/dataset.safetensors")
    test = images_of(data, "test", torch.arange(len(data.y_test)).numpy())
    found = accuracy(predict(network.eval(), test, source.preprocess()), test.labels)
    assert found == metrics["restructured"]["accuracy"]
    assert metrics["restructured"]["params_total"] < metrics["source"]["params_total"]
    assert [c["name"] for c in metrics["controls"]] == ["random", "random", "last", "full"]
    segments = read_json(folder / "segments.json")
    assert [b["name"] for b in segments["blocks"]] == ["3", "4", "5", "6"] and len(segments["cka"]) == 5
    asked = YAML(typ="safe").load((folder / "source.yaml").read_text())
    assert asked["restructurings"] == {}, "otherwise its source would be its own result"
    both = {**VALUES, "prepare_source": {**VALUES["prepare_source"], **asked["prepare_source"]}}
    prepare_source(StageContext("prepare_source", parse_params(both, "test"), project))
    again = load_source(project / "artifacts/prepare_source")
    assert again.info.mean == source.info.mean and again.info.test_accuracy == pytest.approx(found)
    page = (folder / "report.html").read_text()
    assert "2 blocks removed" in page and "random blocks, untrained, mean of 2 draws" in page
    with pytest.raises(ConfigError, match=r"^restructurings\.flat: expected another source than its own result"):
        restructure(StageContext("restructure", parse_params(both, "test"), project, Subject("restructuring", "flat")))


def test_its_network_is_registered_once_and_serves(
    project: Path, empty_mlflow_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restructure(context(project))
    give_registry(project, empty_mlflow_store)
    named = replace(context(project), stage="register_restructuring")
    first, again = register_restructuring(named), register_restructuring(named)
    name = "seam-restructuring-flat"
    assert first.summary == again.summary and (first.summary["registered_model"], first.summary["version"]) == (name, 1)
    card = read_json(project / "artifacts/flat/register_restructuring/card.json")
    folder = project / "artifacts/flat/restructure"
    assert card["hashes"]["network_sha256"] == sha256_file(folder / "network.safetensors")
    assert [gate["gate"] for gate in card["gates"]] == ["accuracy_drop"] and "of source on 24 test" in str(
        card["gates"]
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(project))
    data = load_prepared(project / "artifacts/validate_data/dataset.safetensors")
    answer: Any = load_model(f"models:/{name}/1").predict(data.x_test)
    right = [CLASSES[label] == said for label, said in zip(data.y_test, answer["class"], strict=True)]
    assert sum(right) / len(right) == read_json(folder / "metrics.json")["restructured"]["accuracy"]


def test_its_closing(project: Path) -> None:
    restructure(context(project))
    console = Console(record=True, width=200)
    params = Params.model_validate(VALUES)
    show_closing(project, params, RESTRUCTURING, [Subject("restructuring", "flat")], console, finished=True)
    show_next({RESTRUCTURING: [Subject("restructuring", "flat")]}, console)
    said = [line.strip() for line in console.export_text().splitlines()]
    assert any(line.startswith("│ multiply-adds") and "\N{MINUS SIGN}" in line for line in said)
    assert any(line.startswith("blocks   DeepArc: removed ") for line in said)
    assert any(line.startswith("beside   random blocks, untrained, mean of 2 draws: val") for line in said)
    assert "report   artifacts/flat/restructure/report.html" in said
    assert any(line.startswith("seam run --params artifacts/flat/restructure/source.yaml") for line in said)


def test_a_network_without_blocks_is_one_line_and_publishes_nothing(project: Path) -> None:
    changed = {**VALUES["prepare_source"], "architecture": "net.py:plain"}
    prepare_source(context(project, "prepare_source", prepare_source=changed))
    with pytest.raises(SourceError, match="got none that can be removed"):
        execute(restructure, context(project, prepare_source=changed))
    assert not (project / "artifacts/flat/restructure").exists()


def test_a_doubt_names_the_parameter(project: Path) -> None:
    execute(restructure, context(project, restructurings={"flat": {**BRIEF, "threshold": 0.9999999}}))
    metrics = read_json(project / "artifacts/flat/restructure/metrics.json")
    (doubt,) = metrics["warnings"]
    assert doubt.startswith("nothing was removed") and doubt.endswith("lower restructurings.flat.threshold.")
    assert metrics["change"]["removed"] == metrics["controls"] == []
