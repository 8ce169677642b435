"""The cache shared with DVC: a flow's stage and `dvc repro`'s are the same thing, whichever comes first."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.repo import Repo

from flows.dvc_travel import keep_remotes
from flows.stage_cache import StageCache
from seam.errors import CacheError
from tasks.project.subject import Address
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
"""
SECOND = """
stages:
  second:
    wdir: ../..
    cmd: >-
      python -c "import pathlib;
      pathlib.Path('out/NAME.txt').write_text(pathlib.Path('out/first.txt').read_text() * 2)"
    deps: [out/first.txt]
    params: ["problems.NAME"]
    metrics: ["out/NAME.txt"]
"""
PARAMS = "seed: 0\nproblems:\n  a: [x]\n  b: [y]\n"
FIRST, A, B = STAGES = (
    Address("dvc.yaml", "first"),
    Address("problems/a/dvc.yaml", "second"),
    Address("problems/b/dvc.yaml", "second"),
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    root = tmp_path / "project"
    root.mkdir()
    files = {"dvc.yaml": DVC_YAML, "params.yaml": PARAMS, "in.txt": "ab", ".gitignore": "/out/\n"}
    for name, text in (files | {s.file: SECOND.replace("NAME", s.file.split("/")[1]) for s in (A, B)}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    Repo.init(str(root)).close()
    monkeypatch.chdir(root)
    return root


def body(root: Path, stage: Address) -> str:
    """What the stages' commands do, in this process."""
    (root / "out").mkdir(exist_ok=True)
    if stage == FIRST:
        shutil.copy(root / "in.txt", root / "out/first.txt")
    else:
        (root / f"out/{stage.file.split('/')[1]}.txt").write_text((root / "out/first.txt").read_text() * 2)
    return "done"


def run_all(root: Path) -> list[str]:
    """What the flow does; names of the stages that ran or were restored."""
    cache, done = StageCache(root), []
    for stage in STAGES:
        if cache.is_current(stage):
            continue
        if cache.restore(stage):
            done.append(f"restored {stage}")
            continue
        cache.run(stage, lambda s=stage: body(root, s))  # type: ignore[misc]
        done.append(f"ran {stage}")
    cache.close()
    return done


def locks(root: Path) -> dict[str, bytes]:
    """Every lock there is."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("dvc.lock"))}


def test_after_a_flow_repro_has_nothing_to_do(project: Path) -> None:
    assert run_all(project) == [f"ran {stage}" for stage in STAGES]
    assert (project / "out/b.txt").read_text() == "abab"
    output = dvc(project, "repro", "-P")
    assert output.count("didn't change, skipping") == 3 and "Running stage" not in output
    assert "up to date" in dvc(project, "status")


def test_after_repro_a_flow_recomputes_nothing(project: Path) -> None:
    dvc(project, "repro", "-P")
    recorded = locks(project)
    assert run_all(project) == [] and locks(project) == recorded


def test_both_roads_write_the_same_lock(project: Path) -> None:
    run_all(project)
    by_flow = locks(project)
    for name in by_flow:
        (project / name).unlink()
    shutil.rmtree(project / "out")
    shutil.rmtree(project / ".dvc/cache")
    dvc(project, "repro", "-P")
    assert locks(project) == by_flow


def test_deleted_outputs_come_back_from_the_cache(project: Path) -> None:
    run_all(project)
    shutil.rmtree(project / "out")
    assert run_all(project) == [f"restored {stage}" for stage in STAGES]
    assert (project / "out/a.txt").read_text() == "abab"
    assert "up to date" in dvc(project, "status")


def test_an_earlier_result_comes_back_from_the_run_cache(project: Path) -> None:
    run_all(project)
    (project / "in.txt").write_text("cd")
    assert run_all(project) == [f"ran {stage}" for stage in STAGES]
    (project / "in.txt").write_text("ab")
    assert run_all(project) == [f"restored {stage}" for stage in STAGES]
    assert (project / "out/a.txt").read_text() == "abab"
    assert "up to date" in dvc(project, "status")


@pytest.mark.parametrize("name", [".half.tmp", "half.partial"])
def test_a_record_that_a_killed_process_left_half_written_is_none(project: Path, name: str) -> None:
    run_all(project)
    (project / "in.txt").write_text("cd")
    run_all(project)
    (project / "in.txt").write_text("ab")
    records = [path for path in (project / ".dvc/cache/runs").rglob("*") if path.is_file()]
    for record in records:
        (record.parent / name).write_bytes(record.read_bytes()[: record.read_bytes().index(b"outs:")])
    assert run_all(project) == [f"restored {stage}" for stage in STAGES]
    (project / "in.txt").write_text("ef")
    assert run_all(project) == [f"ran {stage}" for stage in STAGES]
    for record in (project / ".dvc/cache/runs").rglob("*"):
        if record.is_file() and record not in records and record.name != name:
            record.rename(record.with_name(name))  # the only one for these inputs
            (record.with_name(name)).write_bytes(b"cmd: x")
    for lock in project.rglob("dvc.lock"):
        lock.unlink()
    assert run_all(project) == [f"ran {stage}" for stage in STAGES]


def test_only_what_depends_on_a_change_is_stale(project: Path) -> None:
    run_all(project)
    (project / "params.yaml").write_text(PARAMS.replace("a: [x]", "a: [z]"))
    cache = StageCache(project)
    assert [cache.is_current(s) for s in STAGES] == [True, False, True]
    assert cache.staleness(A).reasons == ("problems.a modified",)
    assert not cache.staleness(B)
    cache.close()


def test_what_a_stage_records_is_in_the_lock_beside_its_file_alone(project: Path) -> None:
    run_all(project)
    before = locks(project)
    assert set(before) == {stage.lock for stage in STAGES} == {"dvc.lock", "problems/a/dvc.lock", "problems/b/dvc.lock"}
    (project / "params.yaml").write_text(PARAMS.replace("a: [x]", "a: [z]"))
    assert run_all(project) == [f"ran {A}"]
    assert {name for name, content in locks(project).items() if content != before[name]} == {A.lock}


def test_the_state_of_a_problem_is_read_from_its_lock_alone(project: Path) -> None:
    run_all(project)
    for name in (FIRST.lock, B.lock):
        (project / name).write_text("<<<<<<< HEAD\n")
    cache = StageCache(project)
    assert cache.is_known(A) and not cache.staleness(A)
    with pytest.raises(CacheError, match=r"problems/b/dvc\.lock: .*conflict of a merge in line 1.*git checkout --ours"):
        cache.staleness(B)
    cache.close()


def test_a_clone_without_locks_restores_from_the_cache_of_runs_whatever_the_files_are_called(project: Path) -> None:
    run_all(project)
    made = {path: path.read_bytes() for path in (project / "out").iterdir()}
    for name in locks(project):
        (project / name).unlink()
    shutil.rmtree(project / "out")
    for old, new in (("a", "moved"), ("b", "b")):
        (project / f"problems/{old}").rename(project / f"problems/{new}")
    dvc(project, "repro", "-P")
    assert {path: path.read_bytes() for path in (project / "out").iterdir() if path.suffix == ".txt"} == {
        path: content for path, content in made.items() if path.suffix == ".txt"
    }


def test_a_problem_that_is_not_laid_out_is_said_to_be_so(project: Path) -> None:
    (project / A.file).unlink()
    cache = StageCache(project)
    assert cache.staleness(A).reasons == ("not laid out yet",)
    cache.close()


def test_an_input_that_changes_during_the_run_is_not_recorded(project: Path) -> None:
    cache = StageCache(project)

    def edits_its_input() -> None:
        body(project, FIRST)
        (project / "in.txt").write_text("changed meanwhile")

    with pytest.raises(CacheError, match=r"in\.txt changed while the stage ran"):
        cache.run(FIRST, edits_its_input)
    assert not (project / "dvc.lock").exists()
    cache.close()


def test_a_failed_body_records_nothing_and_frees_the_files(project: Path) -> None:
    cache = StageCache(project)
    with pytest.raises(ZeroDivisionError):
        cache.run(FIRST, lambda: 1 // 0)
    assert not (project / "dvc.lock").exists()
    assert cache.run(FIRST, lambda: body(project, FIRST)) == "done"
    cache.close()


def test_a_failed_body_leaves_the_stage_stale_and_its_last_good_outputs(project: Path) -> None:
    run_all(project)
    (project / "in.txt").write_text("other")
    cache = StageCache(project)
    assert not cache.restore(FIRST) and (project / "out/first.txt").read_text() == "ab"

    def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.run(FIRST, fails)
    assert not cache.is_current(FIRST) and (project / "out/first.txt").read_text() == "ab"
    (project / "in.txt").write_text("ab")
    assert run_all(project) == []
    cache.close()


@pytest.mark.parametrize("travels", [False, True])
def test_recorded_outputs_are_never_taken_for_other_inputs(project: Path, travels: bool) -> None:
    (project / ".dvc/config").write_text("[core]\n    remote = team\n['remote \"team\"']\n    url = ../../team\n")
    run_all(project)
    cache = StageCache(project)
    for stage in STAGES:
        cache.send(stage)
    (project / "in.txt").write_text("other")
    assert not cache.restore(FIRST, travels=travels) and not cache.is_current(FIRST)
    (project / "in.txt").write_text("ab")
    shutil.rmtree(project / "out")
    if travels:
        shutil.rmtree(project / ".dvc/cache")
        cache.close()
        cache = StageCache(project)
    assert [cache.restore(stage, travels=travels) for stage in STAGES] == [True] * 3
    assert (project / "out/a.txt").read_text() == "abab"
    cache.close()


def test_busy_files_are_one_clear_line(project: Path) -> None:
    cache = StageCache(project)

    def other_command() -> str:
        done = subprocess.run(
            [sys.executable, "-m", "dvc", "repro", "first"], cwd=project, capture_output=True, text=True, timeout=60
        )
        assert done.returncode != 0
        assert "busy" in done.stderr
        return body(project, FIRST)

    cache.run(FIRST, other_command)
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


def test_a_remote_is_opened_once_a_process(project: Path) -> None:
    for name in ("near", "far"):
        dvc(project, "remote", "add", name, str(project.parent / name))
    dvc(project, "remote", "default", "near")
    with Repo(str(project)) as repo:
        keep_remotes(repo)
        near, again, far = (repo.cloud.get_remote(*names) for names in ((), (None, "push"), ("far",)))
        assert near is again and repo.cloud.get_remote_odb() is near.odb
        assert far.name == "far" and near.name == "near"
