"""A result is made again when the source of its own is another: a file with other content, an alias that moved."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.registry_view import RegisteredModel
from flows.staleness import source_changed
from seam.files import sha256_file, write_json
from tasks.project.data_guard import digest_of_data
from tasks.project.stages import MODULARIZATION
from tasks.project.subject import StageRun, Subject, stage_folder

RUN = StageRun(MODULARIZATION.reports, Subject(MODULARIZATION.name, "parts"))


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """What the stage says of the source that it read."""
    path = stage_folder(tmp_path, RUN.stage, RUN.subject) / "source.json"
    path.parent.mkdir(parents=True)
    return path


def test_a_checkpoint_with_other_content(tmp_path: Path, recorded: Path) -> None:
    _write(tmp_path, "{checkpoint: net.pth}")
    (tmp_path / "net.pth").write_text("one")
    assert not source_changed(tmp_path, RUN)  # nothing was read yet
    write_json(recorded, {"files": {"net.pth": sha256_file(tmp_path / "net.pth")}})
    assert not source_changed(tmp_path, RUN)
    (tmp_path / "net.pth").write_text("two")
    assert source_changed(tmp_path, RUN)


@pytest.mark.parametrize("folder", [False, True])
def test_images_of_its_own_with_other_content(tmp_path: Path, recorded: Path, folder: bool) -> None:
    _write(tmp_path, "null")
    raw = tmp_path / "leaves"
    if folder:
        (raw / "train/red").mkdir(parents=True)
    file = raw / "train/red/1.png" if folder else raw
    file.write_text("one")
    write_json(recorded.with_name("metrics.json"), {"files": {"leaves": digest_of_data(raw)}})
    assert not source_changed(tmp_path, RUN)
    if folder:
        file.rename(file.with_name("2.png"))
        assert source_changed(tmp_path, RUN)
        file.with_name("2.png").rename(file)
        assert not source_changed(tmp_path, RUN)
    file.write_text("three")
    assert source_changed(tmp_path, RUN)
    file.unlink()
    assert source_changed(tmp_path, RUN)


@pytest.mark.parametrize(
    ("prepared", "own", "moved"),
    [
        ("null", "{checkpoint: models:/net@best}", True),
        ("models:/net@best", "{mean: [0.5], std: [0.5]}", True),  # its checkpoint is the problems'
        ("models:/net@best", "{architecture: resnet56}", False),  # trained: another network has no checkpoint
        ("models:/net@best", "null", False),  # the prepared source, which is made again before it
        ("models:/net@best", "{checkpoint: models:/net/1}", False),
    ],
)
def test_an_alias_that_moved(
    tmp_path: Path, recorded: Path, monkeypatch: pytest.MonkeyPatch, prepared: str, own: str, moved: bool
) -> None:
    _write(tmp_path, own, prepared)
    write_json(recorded, {"fetched_from": "models:/net/1"})
    for version in (1, 2):
        model = RegisteredModel("net", (1, 2), {"best": version})
        monkeypatch.setattr("flows.staleness.registered_model", lambda uri, name, model=model: model)
        assert source_changed(tmp_path, RUN) == (moved and version == 2)


def _write(root: Path, own: str, prepared: str = "null") -> None:
    of_parts = f"modularizations: {{parts: {{source: {own}}}}}"
    (root / "params.yaml").write_text(f"problems: {{p: a}}\nprepare_source: {{checkpoint: {prepared}}}\n{of_parts}\n")
