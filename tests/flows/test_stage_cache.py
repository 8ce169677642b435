"""The cache shared with DVC: a flow's stage and `dvc repro`'s are the same thing, whichever comes first."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.repo import Repo

from flows.stage_cache import StageCache
from seam.errors import CacheError
from tests.flows.dvc_command import dvc

DVC_YAML = """
vars: [params.yaml]
stages:
  first:
    cmd: >-
      python -c "import pathlib, shutil; pathlib.Path('out').mkdir(exist_ok=True);
      shutil.copy('in.txt', 'out/first.txt')"
    deps: [in.txt]
    params: [seed]
    outs: [out/first.txt]
  second:
    foreach: ${problems}
    do:
      cmd: >-
        python -c "import pathlib;
        pathlib.Path('out/${key}.txt').write_text(pathlib.Path('out/first.txt').read_text() * 2)"
      deps: [out/first.txt]
      params: ["problems.${key}"]
      metrics: ["out/${key}.txt"]
"""
PARAMS = "seed: 0\nproblems:\n  a: [x]\n  b: [y]\n"
STAGES = [("first", None), ("second", "a"), ("second", "b")]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    root = tmp_path / "project"
    root.mkdir()
    for name, text in {"dvc.yaml": DVC_YAML, "params.yaml": PARAMS, "in.txt": "ab", ".gitignore": "/out/\n"}.items():
        (root / name).write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    Repo.init(str(root)).close()
    monkeypatch.chdir(root)
    return root


def body(root: Path, stage: str, problem: str | None) -> str:
    """What the commands in DVC_YAML do, in this process."""
    (root / "out").mkdir(exist_ok=True)
    if stage == "first":
        shutil.copy(root / "in.txt", root / "out/first.txt")
    else:
        (root / f"out/{problem}.txt").write_text((root / "out/first.txt").read_text() * 2)
    return "done"


def run_all(root: Path) -> list[str]:
    """What the flow does; names of the stages that ran or were restored."""
    cache, done = StageCache(root), []
    for stage, problem in STAGES:
        if cache.is_current(stage, problem):
            continue
        if cache.restore(stage, problem):
            done.append(f"restored {stage} {problem}")
            continue
        cache.run(stage, problem, lambda s=stage, p=problem: body(root, s, p))  # type: ignore[misc]
        done.append(f"ran {stage} {problem}")
    cache.close()
    return done


def test_after_a_flow_repro_has_nothing_to_do(project: Path) -> None:
    assert run_all(project) == ["ran first None", "ran second a", "ran second b"]
    assert (project / "out/b.txt").read_text() == "abab"
    output = dvc(project, "repro")
    assert output.count("didn't change, skipping") == 3 and "Running stage" not in output
    assert "up to date" in dvc(project, "status")


def test_after_repro_a_flow_recomputes_nothing(project: Path) -> None:
    dvc(project, "repro")
    lock = (project / "dvc.lock").read_bytes()
    assert run_all(project) == []
    assert (project / "dvc.lock").read_bytes() == lock


def test_both_roads_write_the_same_lock(project: Path) -> None:
    run_all(project)
    by_flow = (project / "dvc.lock").read_bytes()
    (project / "dvc.lock").unlink()
    shutil.rmtree(project / "out")
    shutil.rmtree(project / ".dvc/cache")
    dvc(project, "repro")
    assert (project / "dvc.lock").read_bytes() == by_flow


def test_deleted_outputs_come_back_from_the_cache(project: Path) -> None:
    run_all(project)
    shutil.rmtree(project / "out")
    assert run_all(project) == ["restored first None", "restored second a", "restored second b"]
    assert (project / "out/a.txt").read_text() == "abab"
    assert "up to date" in dvc(project, "status")


def test_an_earlier_result_comes_back_from_the_run_cache(project: Path) -> None:
    run_all(project)
    (project / "in.txt").write_text("cd")
    assert run_all(project) == ["ran first None", "ran second a", "ran second b"]
    (project / "in.txt").write_text("ab")
    assert run_all(project) == ["restored first None", "restored second a", "restored second b"]
    assert (project / "out/a.txt").read_text() == "abab"
    assert "up to date" in dvc(project, "status")


def test_only_what_depends_on_a_change_is_stale(project: Path) -> None:
    run_all(project)
    (project / "params.yaml").write_text(PARAMS.replace("a: [x]", "a: [z]"))
    cache = StageCache(project)
    assert [cache.is_current(*s) for s in STAGES] == [True, False, True]
    assert cache.staleness("second", "a").reasons == ("problems.a modified",)
    assert not cache.staleness("second", "b")
    cache.close()


def test_an_input_that_changes_during_the_run_is_not_recorded(project: Path) -> None:
    cache = StageCache(project)

    def edits_its_input() -> None:
        body(project, "first", None)
        (project / "in.txt").write_text("changed meanwhile")

    with pytest.raises(CacheError, match=r"in\.txt changed while the stage ran"):
        cache.run("first", None, edits_its_input)
    assert not (project / "dvc.lock").exists()
    cache.close()


def test_a_failed_body_records_nothing_and_frees_the_files(project: Path) -> None:
    cache = StageCache(project)
    with pytest.raises(ZeroDivisionError):
        cache.run("first", None, lambda: 1 // 0)
    assert not (project / "dvc.lock").exists()
    assert cache.run("first", None, lambda: body(project, "first", None)) == "done"
    cache.close()


def test_a_failed_body_leaves_the_stage_stale(project: Path) -> None:
    run_all(project)
    (project / "in.txt").write_text("other")
    cache = StageCache(project)

    def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.run("first", None, fails)
    assert not cache.is_current("first")
    cache.close()


def test_busy_files_are_one_clear_line(project: Path) -> None:
    cache = StageCache(project)

    def other_command() -> str:
        done = subprocess.run(
            [sys.executable, "-m", "dvc", "repro", "first"], cwd=project, capture_output=True, text=True, timeout=60
        )
        assert done.returncode != 0
        assert "busy" in done.stderr
        return body(project, "first", None)

    cache.run("first", None, other_command)
    cache.close()
    (project / ".dvc/tmp/rwlock").write_text(
        f'{{"write": {{"{project}/out/a.txt": {{"pid": {os.getppid()}, "cmd": "dvc repro"}}}}, "read": {{}}}}'
    )
    with pytest.raises(CacheError, match=r"DVC is busy .*PID.*run again") as caught:
        run_all(project)
    assert "\n" not in str(caught.value)


def test_not_a_dvc_project(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match=r"no \.dvc folder"):
        StageCache(tmp_path)
