"""Data changed against its .dvc file is noticed, named, and never recorded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from dvc.repo import Repo

from benchmarks.digits import write_digits
from seam.configs.data import DataConfig
from seam.errors import DataError
from tasks.project.data_guard import check_data_unchanged
from tasks.project.params import Params
from tasks.project.stage import StageContext
from tasks.validate_data import validate_data


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DVC project whose data/ (the digits and a note) is tracked."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    root = tmp_path / "project"
    root.mkdir()
    write_digits(root / "data" / "digits.npz")
    (root / "data" / "note.txt").write_text("as recorded")
    with Repo.init(str(root), no_scm=True) as repo:
        repo.add([str(root / "data")])
    return root


def failure(root: Path) -> str:
    record = (root / "data.dvc").read_bytes()
    with pytest.raises(DataError) as caught:
        check_data_unchanged(root, "data/digits.npz")
    assert (root / "data.dvc").read_bytes() == record, "the guard never accepts a change"
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_unchanged_data_passes(project: Path) -> None:
    check_data_unchanged(project)
    check_data_unchanged(project, "data/digits.npz")


def test_changed_added_and_removed_files_are_named(project: Path) -> None:
    (project / "data" / "note.txt").write_text("something else")
    message = failure(project)
    assert message.startswith("data/note.txt (changed): not the data recorded in data.dvc;")
    assert "`dvc checkout --force data.dvc`" in message
    assert "`dvc add data`" in message
    (project / "data" / "note.txt").unlink()
    (project / "data" / "extra.png").write_text("x")
    assert "data/extra.png (added), data/note.txt (removed)" in failure(project)


def test_changed_without_a_cache_is_still_noticed(project: Path) -> None:
    shutil.rmtree(project / ".dvc" / "cache")
    check_data_unchanged(project)  # a fresh clone whose data was built, not pulled
    (project / "data" / "digits.npz").write_bytes(b"x")
    assert failure(project).startswith("data: not the data recorded in data.dvc")


def test_missing_data(project: Path) -> None:
    shutil.rmtree(project / "data")
    message = failure(project)
    assert "`dvc pull`" in message


def test_what_dvc_does_not_track_is_not_checked(project: Path, tmp_path: Path) -> None:
    shutil.rmtree(project / "data")
    check_data_unchanged(project, "elsewhere/my.npz")
    check_data_unchanged(project, str(tmp_path / "outside"))


def test_damaged_record(project: Path) -> None:
    (project / "data.dvc").write_text("outs: [")
    assert "data.dvc" in failure(project)


def test_stage_refuses_changed_data_and_publishes_nothing(project: Path) -> None:
    (project / "data" / "digits.npz").write_bytes(b"x")
    params = Params(problems={"p": ("3",)}, data=DataConfig(kind="npz", path="data/digits.npz"))
    with pytest.raises(DataError, match=r"data/digits.npz \(changed\)"):
        validate_data(StageContext("validate_data", params, project))
    assert not (project / "artifacts").exists()
