"""What DVC found current is current while nothing has changed, and DVC is asked again as soon as anything has."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.found_current import FoundCurrent
from flows.stage_cache import StageCache
from tests.flows.dvc_command import dvc
from tests.flows.test_stage_cache import FIRST, PARAMS, SECOND, STAGES, A, B, project, run_all

assert project  # a fixture


class _NeverAsked:
    """In place of DVC."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"DVC was asked: {name}")


def without_dvc(root: Path) -> StageCache:
    cache = StageCache(root)
    cache.__dict__["_dvc"] = _NeverAsked()
    return cache


def test_a_second_look_needs_no_dvc(project: Path) -> None:
    run_all(project)
    cache = without_dvc(project)
    assert all(cache.is_known(stage) and cache.is_current(stage) for stage in STAGES)
    assert not any(cache.staleness(stage) for stage in STAGES)


def test_what_dvc_says_is_kept_for_the_next_process(project: Path) -> None:
    dvc(project, "repro", "-P")
    cache = StageCache(project)
    assert not any(cache.is_known(stage) for stage in STAGES)
    assert all(cache.is_current(stage) for stage in STAGES)
    cache.close()
    cache = without_dvc(project)
    assert all(cache.is_current(stage) for stage in STAGES)


def _edit(name: str, text: str) -> Callable[[Path], object]:
    return lambda root: (root / name).write_text(text)


def _gone_from_cache(root: Path) -> None:
    for path in (root / ".dvc/cache/files").rglob("*"):
        if path.is_file():
            os.chmod(path, 0o644)  # noqa: PTH101
            path.unlink()


@pytest.mark.parametrize(
    ("change", "current"),
    [
        (_edit("in.txt", "ad"), [False, True, True]),
        (_edit("out/a.txt", "abba"), [True, False, True]),
        (lambda root: (root / "out/b.txt").unlink(), [True, True, False]),
        (_edit("params.yaml", PARAMS.replace("seed: 0", "seed: 1")), [False, True, True]),
        (_edit("params.yaml", f"# a comment\n{PARAMS}"), [True, True, True]),
        (lambda root: (root / "dvc.lock").unlink(), [False, True, True]),
        (lambda root: (root / A.lock).unlink(), [True, False, True]),
        (_edit(A.file, SECOND.replace("NAME", "a").replace("* 2", "* 3")), [True, False, True]),
        (lambda root: os.utime(root / "in.txt"), [True, True, True]),
        (_gone_from_cache, [False, False, False]),
    ],
)
def test_a_change_is_seen(project: Path, change: Callable[[Path], object], current: list[bool]) -> None:
    run_all(project)
    change(project)
    cache = StageCache(project)
    assert [cache.is_current(stage) for stage in STAGES] == current
    assert [not cache.staleness(stage) for stage in STAGES] == current
    cache.close()


def test_files_in_folders_count(tmp_path: Path) -> None:
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / "out/deep").mkdir(parents=True)
    (tmp_path / "out/deep/one").write_text("1")
    found = FoundCurrent(tmp_path)
    found.note("s", "basis", ["out"], found.state_of(["out"]))
    assert found.holds("s", "basis") and not found.holds("s", "another") and not found.holds("t", "basis")
    (tmp_path / "out/deep/two").write_text("2")
    assert not found.holds("s", "basis")
    shutil.rmtree(tmp_path / "out")
    assert not found.holds("s", "basis")


def test_a_damaged_record_is_as_none(tmp_path: Path) -> None:
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / ".dvc/tmp/found_current.json").write_text('{"s": {"bas')
    assert not FoundCurrent(tmp_path).holds("s", "basis")


def test_status_answers_while_a_stage_runs(project: Path) -> None:
    """The stage's files are reserved, and DVC's own status would say that they are busy."""
    run_all(project)
    (project / "in.txt").write_text("cd")
    cache, seen = StageCache(project), {}

    def body() -> None:
        other = StageCache(project)
        seen.update({stage: other.staleness(stage).reasons for stage in STAGES})
        other.close()
        (project / "out/first.txt").write_text("cd")

    cache.run(FIRST, body)
    cache.close()
    assert seen == {FIRST: ("in.txt modified",), A: (), B: ()}
