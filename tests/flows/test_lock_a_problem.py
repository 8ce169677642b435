"""Each problem has its stages and its lock to itself: an upgrade, a new problem and a gone one, by every road."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows.commands import repro
from flows.pipeline import run_pipeline
from flows.stage_cache import shared_cache
from tasks.project.change_params import change_params
from tasks.project.lock_text import renamed, split, write_sections
from tasks.project.subject import Subject, address_of
from tests.flows.dvc_command import dvc as plain_dvc
from tests.flows.ran import ran

STUBS = Path(__file__).parents[1] / "stub_stages"
PROBLEMS = ("digit-3", "low-digits")


@pytest.fixture
def project(done: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of which everything ran, with stub stages for DVC's processes too."""
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("PYTHONPATH", f"{STUBS}{os.pathsep}{done}")
    return done


def dvc(root: Path, *arguments: str) -> str:
    return plain_dvc(root, *arguments, PYTHONPATH=f"{STUBS}{os.pathsep}{root}")


def locks(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("dvc.lock")}


def stale(root: Path) -> list[str]:
    """What the flow would run, of the problems."""
    cache = shared_cache(root)
    found = [address_of(stage, Subject("problem", name)) for name in PROBLEMS for stage in ("search", "register_model")]
    return [str(stage) for stage in found if cache.staleness(stage)]


def test_every_road_of_dvc_has_nothing_to_do_and_sees_each_problem(project: Path) -> None:
    before = locks(project)
    assert set(before) == {"dvc.lock", *(f"problems/{name}/dvc.lock" for name in PROBLEMS)}
    for arguments in (["-P"], ["-R", "problems"], ["problems/digit-3/dvc.yaml:register_model"]):
        shown = dvc(project, "repro", *arguments)
        assert "Running stage" not in shown and "Stage 'problems/digit-3/dvc.yaml:search' didn't change" in shown
    assert "up to date" in dvc(project, "status", "-R", "problems")
    assert all(f"artifacts/{name}/evaluate/metrics.json" in dvc(project, "metrics", "show") for name in PROBLEMS)
    dvc(project, "gc", "--workspace", "--force")
    assert "up to date" in dvc(project, "status") and locks(project) == before


def test_an_older_projects_lock_is_taken_apart_and_nothing_runs(project: Path) -> None:
    before = locks(project)
    old = dict(split(before["dvc.lock"]) or {})
    del old["lay_out"]
    for name in PROBLEMS:
        for stage, section in (split(before[f"problems/{name}/dvc.lock"]) or {}).items():
            old[f"{stage}@{name}"] = renamed(section, f"{stage}@{name}")
        shutil.rmtree(project / "problems" / name)
    write_sections(project / "dvc.lock", old)
    assert stale(project) and ran(project) == []
    assert run_pipeline(return_state=True).is_completed() and ran(project) == []
    after = locks(project)
    assert after.keys() == before.keys() and all(split(text) == split(after[name]) for name, text in before.items())
    assert "up to date" in dvc(project, "status")


def test_a_clone_without_locks_takes_results_from_the_cache_of_runs(project: Path) -> None:
    made = {path: path.read_bytes() for path in (project / "artifacts/digit-3").rglob("*") if path.is_file()}
    (project / "problems/digit-3/dvc.lock").unlink()
    shutil.rmtree(project / "artifacts/digit-3")
    dvc(project, "repro", "problems/digit-3/dvc.yaml")
    assert ran(project) == [] and made == {path: path.read_bytes() for path in made}


def test_a_new_problem_is_laid_out_by_dvc_in_two_and_by_seam_in_one_command(project: Path) -> None:
    before = locks(project)
    change_params(project / "params.yaml", ["problems.four=['4']"])
    assert not shared_cache(project).staleness(address_of("search", Subject("problem", "digit-3"))).reasons
    command = [sys.executable, "-m", "dvc", "repro", "-P"]
    first = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert first.returncode != 0 and ran(project) == []
    assert "problems/four/dvc.yaml written. DVC has read its files before: run the same command again." in first.stderr
    dvc(project, "repro", "-P")
    assert {name.partition("@")[2] for name in ran(project)} == {"four"}
    after = locks(project)
    assert {name for name in after if after[name] != before.get(name)} == {"dvc.lock", "problems/four/dvc.lock"}

    change_params(project / "params.yaml", ["problems.five=['5']"])
    assert repro.reproduce(project, []) == 0
    assert {name.partition("@")[2] for name in ran(project)} == {"five"} and "up to date" in dvc(project, "status")
    assert repro.reproduce(project, ["-f", "-s", "problems/five/dvc.yaml:search"]) == 0
    assert ran(project) == ["search@five"]


def test_what_a_gone_problem_recorded_goes_with_it_and_the_others_stay_current(project: Path) -> None:
    before = locks(project)
    assert run_pipeline(["problems={digit-3: ['3']}"], return_state=True).is_completed() and ran(project) == []
    assert not (project / "problems/low-digits").exists()
    assert locks(project)["problems/digit-3/dvc.lock"] == before["problems/digit-3/dvc.lock"]
    assert "up to date" in dvc(project, "status")


def test_two_clones_work_on_a_problem_each_and_their_locks_are_put_side_by_side(project: Path, tmp_path: Path) -> None:
    """As machines do that share a remote: what is put in place is a text each."""
    (project / ".dvc/config").write_text(
        f"[core]\n    remote = team\n['remote \"team\"']\n    url = {tmp_path / 'team'}\n"
    )
    texts = {}
    for name in PROBLEMS:
        clone = tmp_path / name
        shutil.copytree(project, clone, symlinks=True)
        change_params(clone / "params.yaml", ["search.alpha=3"])
        dvc(clone, "repro", "lay_out", f"problems/{name}/dvc.yaml")
        assert {line.partition("@")[2] for line in ran(clone)} == {name}
        dvc(clone, "push", f"problems/{name}/dvc.yaml")
        texts[name] = (clone / f"problems/{name}/dvc.lock").read_text()
        root_lock = (clone / "dvc.lock").read_text()
        shutil.rmtree(clone)
    change_params(project / "params.yaml", ["search.alpha=3"])
    for name, text in texts.items():
        (project / f"problems/{name}/dvc.lock").write_text(text)
    (project / "dvc.lock").write_text(root_lock)
    dvc(project, "pull", "-R", "problems")
    assert "up to date" in dvc(project, "status")
    assert "Running stage" not in dvc(project, "repro", "-P") and ran(project) == []


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ([], ["-P"]),
        (["--dry"], ["-P", "--dry"]),
        (["-P"], ["-P"]),
        (["search"], ["search"]),
        (["-R", "problems"], ["-R", "problems"]),
    ],
)
def test_seam_repro_is_of_everything_unless_something_is_named(arguments: list[str], given: list[str]) -> None:
    assert [*repro._every(arguments), *arguments] == given
