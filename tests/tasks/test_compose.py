"""The stage that puts modules together: what it writes, what it chooses, and what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from rich.console import Console

from flows.closing import show_closing, show_next
from seam.data.images import images_of
from seam.data.prepared import load_prepared
from seam.errors import ConfigError, DataError, MaskError
from seam.files import read_json, sha256_file
from seam.measures.macs import count
from seam.networks.source import load_source
from tasks.compose import compose
from tasks.project.params import Params
from tasks.project.stage import execute
from tasks.project.stages import COMPOSITION
from tasks.project.subject import Subject
from tests.tasks.compose_project import VALUES, context, make_modules
from tests.tasks.transfer_project import CLASSES


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with modules of three sources."""
    return make_modules(tmp_path_factory.mktemp("compose"), *VALUES["modularizations"])


@pytest.fixture
def project(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    return made


def test_some_classes_and_the_file_is_what_was_measured(project: Path) -> None:
    result = compose(context(project, "compose"))
    folder = project / "artifacts/few/compose"
    written = {"network.onnx", "metrics.json", "before.svg", "after.svg", "report.html"}
    assert {Path(f).name for f in result.files} == written
    metrics = read_json(folder / "metrics.json")
    assert metrics["classes"] == ["red", "blue"] and metrics["chosen"] == {"red": "good", "blue": "good"}
    data = load_prepared(project / "artifacts/validate_data/dataset.safetensors")
    source = load_source(project / "artifacts/good/modularize")
    red, blue = (CLASSES.index(name) for name in ("red", "blue"))
    labels = torch.from_numpy(data.y_test)
    rows = ((labels == red) | (labels == blue)).nonzero()[:, 0]
    images = source.preprocess()(images_of(data, "test", rows.numpy()).images)
    (logits,) = onnxruntime.InferenceSession(str(folder / "network.onnx")).run(None, {"input": images.numpy()})
    truth = np.where(labels[rows].numpy() == red, 0, 1)
    counts = [[int(((logits.argmax(1) == j) & (truth == i)).sum()) for j in range(2)] for i in range(2)]
    assert counts == metrics["composed"]["confusion"] and metrics["num_test"] == len(rows) == 16
    assert metrics["composed"]["accuracy"] == (counts[0][0] + counts[1][1]) / 16 == result.summary["accuracy"]
    f1 = 2 * counts[0][0] / (sum(counts[0]) + counts[0][0] + counts[1][0])
    assert metrics["composed"]["f1"]["red"] == pytest.approx(f1)
    with torch.no_grad():
        own = source.network(images)[:, [red, blue]].argmax(1).numpy()
    assert metrics["each"]["good"]["accuracy"] == metrics["sources"]["accuracy"] == (own == truth).mean()
    assert metrics["best_source"] == {"name": "good", **metrics["each"]["good"]}
    assert metrics["each"]["good"]["params_nonzero"] == count(source.network, source.example()).params_nonzero
    assert metrics["each"]["good"]["latency_ms_p50"] > 0 < metrics["composed"]["latency_ms_p50"]
    assert metrics["hashes"] == {
        "good.pack_sha256": read_json(folder.parents[1] / "good/modularize/modules/modules.json")["sha256"],
        "good.source_sha256": sha256_file(folder.parents[1] / "good/modularize/source.safetensors"),
        "network_sha256": sha256_file(folder / "network.onnx"),
    }
    assert metrics["files"] == {} and metrics["fitted_on"] is None and metrics["val_from"] == "train"
    page = (folder / "report.html").read_text()
    assert "2 modules out of good" in page and page.count("<svg") == 2


def test_the_better_module_of_each_class_is_taken(project: Path) -> None:
    compose(context(project, "compose", "best"))
    metrics = read_json(project / "artifacts/best/compose/metrics.json")
    assert set(metrics["classes"]) == set(CLASSES) and metrics["num_test"] == 24
    for name, by_source in metrics["f1_on_val"].items():
        assert set(by_source) == {"weak", "good"} and by_source[metrics["chosen"][name]] == max(by_source.values())
    assert metrics["each"]["weak"]["accuracy"] < metrics["each"]["good"]["accuracy"]
    assert "good" in metrics["chosen"].values() and metrics["best_source"]["name"] == "good"


def test_its_closing(project: Path) -> None:
    compose(context(project, "compose"))
    console, params = Console(record=True, width=160), Params.model_validate(VALUES)
    show_closing(project, params, COMPOSITION, [Subject("composition", "few")], console, finished=True)
    show_next({COMPOSITION: [Subject("composition", "few")]}, console)
    said = [line.strip() for line in console.export_text().splitlines()]
    assert "few (red, blue)" in said and "report   artifacts/few/compose/report.html" in said
    assert [line.split()[1] for line in said if line.startswith(("│ composed", "│ good"))] == ["composed", "good"]
    assert any(line.startswith("seam report --composition few --open") for line in said)


def test_modules_made_elsewhere_are_read_with_their_source(project: Path) -> None:
    elsewhere = project / "packs/good"
    if not elsewhere.exists():
        shutil.copytree(project / "artifacts/good/modularize", elsewhere)
    entry = {"few": {"of": ["packs/good"], "classes": ["red", "green"]}}
    compose(context(project, "compose", compositions=entry))
    metrics = read_json(project / "artifacts/few/compose/metrics.json")
    assert metrics["files"]["packs/good/source.safetensors"] == sha256_file(elsewhere / "source.safetensors")
    assert metrics["val_from"] == "train" and metrics["chosen"]["green"] == "packs/good"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"of": ["good"], "classes": ["red", "pink"]},
            r"^compositions\.few\.classes: expected classes that",
        ),
        ({"of": ["good"], "classes": ["red", "red"]}, r"classes: expected different classes, got 'red' twice"),
        ({"of": ["good"], "classes": ["red"]}, r"classes: expected two classes or more to tell apart, got red"),
        ({"of": ["good", "good"]}, r"^compositions\.few\.of: expected different names, got 'good' twice"),
        ({"of": ["nowhere"]}, r"^compositions\.few\.of: expected the folder of modules .* 'nowhere' without modules"),
        ({"of": ["good", "other"]}, r"^modules of other: "),
    ],
)
def test_what_cannot_work_is_one_line_and_changes_nothing(project: Path, entry: dict[str, Any], message: str) -> None:
    compose(context(project, "compose"))
    before = read_json(project / "artifacts/few/compose/metrics.json")
    with pytest.raises((ConfigError, DataError, MaskError), match=message) as caught:
        execute(compose, context(project, "compose", compositions={"few": entry}))
    assert "\n" not in str(caught.value)
    assert read_json(project / "artifacts/few/compose/metrics.json") == before
