"""The stage that ranks trained networks: what it writes, that its winner is a source, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from ruamel.yaml import YAML
from safetensors.torch import save_file

from flows.closing import show_closing, show_next
from flows.staleness import source_changed
from seam.errors import ConfigError, SourceError
from seam.files import read_json, sha256_file
from seam.networks.build import build
from seam.networks.source import load_source
from tasks.prepare_source import prepare_source
from tasks.project.params import parse_params
from tasks.project.stage import StageContext
from tasks.project.stages import SELECTION
from tasks.project.subject import StageRun, Subject
from tasks.select import KEPT, select
from tasks.validate_data import validate_data
from tests.tasks.report.browser import DESK, PHONE, in_browser, opened_browser
from tests.tasks.transfer_project import CLASSES, NETWORK, make_images

VALUES: dict[str, Any] = {
    "problems": {"warm": ["red"]},
    "runtime": {"device": "cpu", "precision": "fp32", "threads": 1},
    "data": {"kind": "image_folder", "path": "flowers", "image_size": 16},
    "prepare_source": {"architecture": "tiny.py:tiny", "epochs": 4, "batch_size": 8},
}
BRIEF = {"folds": 2, "resamples": 100, "milliseconds": False, "attacked": 6, "attack_steps": 2}
THREE = ["artifacts/prepare_source", "weights", "tiny.py:tiny=given.safetensors"]


def context(root: Path, stage: str = "select", **entry: Any) -> StageContext:
    selections = {"best": {**BRIEF, "candidates": THREE, **entry}}
    subject = Subject("selection", "best") if stage == "select" else None
    return StageContext(stage, parse_params({**VALUES, "selections": selections}, "test"), root, subject)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source trained here, the same network with seven classes and random weights, and a folder with a text in it."""
    monkeypatch.chdir(tmp_path)
    make_images(tmp_path / "flowers")
    (tmp_path / "tiny.py").write_text(NETWORK)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "notes.pth").write_text("not weights")
    torch.manual_seed(0)
    save_file(build("tiny.py:tiny", 7).state_dict(), tmp_path / "given.safetensors", metadata={"license": "MIT"})
    validate_data(context(tmp_path, "validate_data"))
    prepare_source(context(tmp_path, "prepare_source"))
    return tmp_path


def test_the_ranking_and_its_page(project: Path) -> None:
    result = select(context(project))
    folder = project / "artifacts/best/select"
    assert {Path(f).name for f in result.files} == {"metrics.json", "source.yaml", "cost.svg", "report.html"}
    metrics = read_json(folder / "metrics.json")
    assert (result.summary["candidates"], result.summary["judged"]) == (3, 2)
    by_name = {choice["name"]: choice for choice in metrics["choices"]}
    assert list(by_name)[2] == "weights/notes.pth" and "got a text file" in by_name["weights/notes.pth"]["reason"]
    own, given = by_name[THREE[0]], by_name[THREE[2]]
    assert (own["origin"], own["licence"], given["licence"]) == ("trained here", "unknown", "MIT")
    source = load_source(project / "artifacts/prepare_source").info
    assert own["normalisation"] == "as given" and own["params_total"] < source.params_total + 1
    assert metrics["files"]["given.safetensors"] == sha256_file(project / "given.safetensors")
    assert set(metrics["files"]) == {"given.safetensors", "tiny.py", "artifacts/prepare_source/source.safetensors"}
    assert set(metrics["classes"]) == set(CLASSES)
    page = (folder / "report.html").read_text()
    assert "Not judged" in page and "weights/notes.pth" in page and "Ledoit" not in page
    console = Console(record=True, width=200)
    show_closing(project, context(project).params, SELECTION, [Subject("selection", "best")], console, finished=True)
    show_next({SELECTION: [Subject("selection", "best")]}, console)
    said = console.export_text()
    assert "by probe, likelihood in" in said and "seam run --params artifacts/best/select/source.yaml" in said


@in_browser
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_long_names_are_read_on_a_phone_and_on_a_desk(project: Path, width: int) -> None:
    folder = project / "networks_of_the_team" / "photographs_of_the_shop_2026"
    folder.mkdir(parents=True)
    for name in ("given.safetensors", "weights/notes.pth"):
        (folder / Path(name).name).write_bytes((project / name).read_bytes())
    names = [
        f"tiny.py:tiny={folder.relative_to(project)}/given.safetensors",
        f"{folder.relative_to(project)}/notes.pth",
    ]
    select(context(project, candidates=names))
    with opened_browser() as screen:
        page, outside = screen((project / "artifacts/best/select/report.html").as_uri(), width=width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width and outside == []
        heights = page.evaluate("[...document.querySelectorAll('th')].map(cell => cell.getBoundingClientRect().height)")
    assert max(heights) < 400  # a letter a line would be a thousand


def test_its_winner_is_a_source(project: Path) -> None:
    select(context(project, candidates=THREE[:1], problem="warm"))
    text = (project / "artifacts/best/select/source.yaml").read_text()
    changes = YAML(typ="safe").load(text)
    assert "&" not in text
    info = load_source(project / "artifacts/prepare_source").info
    assert changes["prepare_source"]["checkpoint"] == "artifacts/prepare_source/source.safetensors"
    (project / "copied.safetensors").write_bytes((project / changes["prepare_source"]["checkpoint"]).read_bytes())
    changes["prepare_source"]["checkpoint"] = "copied.safetensors"
    again = parse_params({**VALUES, **{"prepare_source": changes["prepare_source"]}}, "test")
    prepare_source(StageContext("prepare_source", again, project))
    given = load_source(project / "artifacts/prepare_source").info
    assert given.mean == pytest.approx(info.mean) and given.test_accuracy is not None
    assert changes["transfer"]["num_classes"] == len(CLASSES)


def test_one_with_other_classes_is_a_source_of_transfers_alone(project: Path) -> None:
    select(context(project, candidates=THREE[2:]))
    changes = YAML(typ="safe").load((project / "artifacts/best/select/source.yaml").read_text())
    assert set(changes) == {"transfer"} and changes["transfer"]["num_classes"] == 7
    assert changes["transfer"]["architecture"] == "tiny.py:tiny"


def test_what_changed_is_noticed_and_the_rest_is_kept(project: Path) -> None:
    select(context(project))
    values = {**VALUES, "selections": {"best": {**BRIEF, "candidates": THREE}}}
    YAML().dump(values, project / "params.yaml")
    run = StageRun("select", Subject("selection", "best"))
    assert not source_changed(project, run)
    kept = sorted((project / KEPT).iterdir())
    select(context(project))
    assert sorted((project / KEPT).iterdir()) == kept
    torch.manual_seed(5)
    save_file(build("tiny.py:tiny", 7).state_dict(), project / "given.safetensors")
    assert source_changed(project, run)
    select(context(project))
    assert len(list((project / KEPT).iterdir())) > len(kept) and not source_changed(project, run)


def test_images_of_its_own(project: Path) -> None:
    own = {"kind": "image_folder", "path": "flowers", "image_size": 12}
    select(context(project, candidates=THREE[:1], data=own))
    assert "flowers" in read_json(project / "artifacts/best/select/metrics.json")["files"]
    assert set(YAML(typ="safe").load((project / "artifacts/best/select/source.yaml").read_text())) == {"transfer"}


@pytest.mark.parametrize(
    ("entry", "error", "message"),
    [
        ({"problem": "cold"}, ConfigError, "selections.best.problem: expected one of warm, got 'cold'"),
        ({"candidates": ["flowers"]}, ConfigError, "flowers: expected networks in it"),
        ({"candidates": ["weights"]}, SourceError, "expected a network that can be judged, got none; weights/notes.p"),
        ({"candidates": ["=x"]}, ConfigError, "expected ARCHITECTURE=CHECKPOINT, got '=x'"),
        ({"candidates": []}, ConfigError, "candidates must be not empty"),
        ({"mean": [0.5]}, ConfigError, "mean and std must be given together"),
    ],
)
def test_what_is_wrong_is_one_line(project: Path, entry: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        select(context(project, **entry))
    assert "\n" not in str(raised.value)
