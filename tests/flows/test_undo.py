"""What `--set` changes: never kept where it is refused, taken back where nothing came of it, and by `seam undo`."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from flows.pipeline import run_pipeline
from flows.stage_cache import shared_cache
from flows.transfer import run_transfers
from flows.undo import take_back
from seam.errors import ConfigError
from tests.flows.dvc_command import dvc
from tests.flows.ran import ran

SHOP = "problems={shop: ['3']}"


def files_of(project: Path) -> dict[str, bytes]:
    """What people and DVC keep in a project: parameters, pipelines, locks, results."""
    found = {"params.yaml", *map(str, project.glob("dvc.*"))}
    paths = [project / name for name in found]
    for folder in ("problems", "artifacts"):
        paths += [path for path in (project / folder).rglob("*") if path.is_file() and ".partial" not in str(path)]
    return {str(path.relative_to(project)): path.read_bytes() for path in sorted(paths)}


@pytest.fixture
def made(done: Path) -> dict[str, bytes]:
    """The files of `done`."""
    return files_of(done)


@pytest.mark.parametrize(
    "overrides",
    [
        ["search.alpha=-1"],
        ["search.alpa=1"],
        ["data.path=data/none.npz"],
        ["search.alpha=0.5", "data.path=data/none.npz"],
        ["problems={validate_data: ['3']}"],
        [SHOP, "register_model.experiment="],
    ],
)
def test_what_is_refused_is_never_written(project: Path, server: None, overrides: list[str]) -> None:
    params, written = project / "params.yaml", (project / "params.yaml").stat()
    before = params.read_bytes()
    state = run_pipeline(overrides, return_state=True)
    assert state.is_failed() and "\n" not in str(state.message)
    assert (params.read_bytes(), params.stat().st_mtime_ns, params.stat().st_ino) == (
        before,
        written.st_mtime_ns,
        written.st_ino,
    )
    assert not (project / "problems/shop").exists() and ran(project) == []


@pytest.mark.parametrize(
    ("stage", "what"), [("validate_data", "crash"), ("search", "error"), ("register_model", "error")]
)
def test_where_nothing_came_of_it_all_is_as_before_and_there_is_nothing_to_do(
    made: dict[str, bytes], done: Path, monkeypatch: pytest.MonkeyPatch, stage: str, what: str
) -> None:
    named = [stage] if stage == "validate_data" else [f"{stage}@digit-3", f"{stage}@low-digits"]
    monkeypatch.setenv("SEAM_STUB", ",".join(f"{name}={what}" for name in named))
    changes = ["data.path=data/other.npz", "search.alpha=0.5"]
    (done / "data/other.npz").write_text("other")
    assert run_pipeline(changes, return_state=True).is_failed()
    assert files_of(done) == made
    monkeypatch.delenv("SEAM_STUB")
    ran(done)
    shared_cache(done).made.clear()
    assert run_pipeline(return_state=True).is_completed()
    assert ran(done) == [] and shared_cache(done).made == set() and files_of(done) == made


def test_finished_stages_are_not_computed_again_by_the_same_command(
    made: dict[str, bytes], done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEAM_STUB", "evaluate@digit-3=error,evaluate@low-digits=error")
    assert run_pipeline(["search.alpha=0.5"], return_state=True).is_failed()
    assert files_of(done) == made
    monkeypatch.delenv("SEAM_STUB")
    ran(done)
    assert run_pipeline(["search.alpha=0.5"], return_state=True).is_completed()
    assert ran(done)[0] == "evaluate@digit-3" and "alpha: 0.5" in (done / "params.yaml").read_text()


def test_results_of_some_keep_it_and_undo_brings_back_what_was(
    made: dict[str, bytes], done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEAM_STUB", "search@low-digits=error")
    state = run_pipeline(["search.alpha=0.5"], return_state=True)
    assert state.is_failed() and "alpha: 0.5" in (done / "params.yaml").read_text()
    last = "artifacts/low-digits/search/metrics.json"
    assert (done / last).read_bytes() == made[last]
    monkeypatch.delenv("SEAM_STUB")
    ran(done)
    assert take_back(done) == ["search.alpha: 1.0 -> 0.5"]
    assert files_of(done) == made
    assert run_pipeline(return_state=True).is_completed() and ran(done) == []
    with pytest.raises(ConfigError, match="expected a change by --set or --params to take back, got none"):
        take_back(done)


def test_problems_in_place_of_others_and_back(made: dict[str, bytes], done: Path) -> None:
    assert run_pipeline([SHOP], return_state=True).is_completed()
    assert not (done / "problems/digit-3").exists()
    take_back(done)
    now = files_of(done)
    assert {name: now.get(name) for name in made} == made and not (done / "problems/shop").exists()
    ran(done)
    assert run_pipeline(return_state=True).is_completed() and ran(done) == []


def test_results_that_were_pulled_come_back_without_a_cache_of_runs(made: dict[str, bytes], done: Path) -> None:
    """A clone has the objects alone, not what finds them by their inputs."""
    for runs in (done / ".dvc/cache/runs").iterdir():
        subprocess.run(["rm", "-r", str(runs)], check=True)
    assert run_pipeline(["search.alpha=0.5"], return_state=True).is_completed()
    take_back(done)
    assert files_of(done) == made
    ran(done)
    assert run_pipeline(return_state=True).is_completed() and ran(done) == []


def test_an_edit_since_is_not_undone(made: dict[str, bytes], done: Path) -> None:
    assert run_pipeline(["search.alpha=0.5"], return_state=True).is_completed()
    params = done / "params.yaml"
    params.write_text(params.read_text() + "# mine\n")
    before = params.read_bytes()
    with pytest.raises(ConfigError, match=r"edited since; take back by hand .*: search\.alpha: 1\.0 -> 0\.5"):
        take_back(done)
    assert params.read_bytes() == before


def test_a_student_that_fails_is_left_out_and_comes_back(
    server: None, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("flowers", "pets"):
        (project / name).mkdir()
        (project / name / "image.png").write_text(name)
    targets = ["targets={flowers: {kind: image_folder, path: flowers}}", "transfer.methods=[standard, seam-50]"]
    assert run_transfers(targets, return_state=True).is_completed()
    student = project / "artifacts/flowers/students/standard-seed0/metrics.json"
    compared = project / "artifacts/flowers/compare_transfers/comparison.json"
    assert student.is_file() and compared.is_file()
    monkeypatch.setenv("SEAM_STUB", "transfer@flowers-standard-0=error")
    assert run_transfers(["transfer.training.epochs=3"], return_state=True).is_failed()
    assert not student.is_file() and "epochs: 3" in (project / "params.yaml").read_text()  # there is a comparison
    monkeypatch.delenv("SEAM_STUB")
    ran(project)
    take_back(project)
    assert student.is_file() and run_transfers(return_state=True).is_completed() and ran(project) == []


def test_a_stage_that_fails_under_dvc_leaves_its_last_good_result(made: dict[str, bytes], done: Path) -> None:
    params = done / "params.yaml"
    params.write_bytes(params.read_bytes().replace(b"alpha: 1.0", b"alpha: 0.5"))
    stubs = Path(__file__).parents[1] / "stub_stages"
    environment = {"PYTHONPATH": f"{done}:{stubs}", "SEAM_STUB": "search@digit-3=error"}
    with pytest.raises(AssertionError, match="expected a good stage, got a bad one"):
        dvc(done, "repro", "problems/digit-3/dvc.yaml", **environment)
    now = files_of(done)
    assert {name for name in made if now.get(name) != made[name]} == {"params.yaml"}
    params.write_bytes(made["params.yaml"])
    dvc(done, "repro", "problems/digit-3/dvc.yaml", PYTHONPATH=f"{done}:{stubs}")
    assert ran(done) == [] and files_of(done) == made


@pytest.mark.slow
def test_the_command_says_what_it_changed_and_how_to_take_it_back(project: Path) -> None:
    from tests.flows.test_cli import seam

    before = (project / "params.yaml").read_bytes()
    failed = seam(project, "run", "--set", "search.alpha=0.5", SEAM_STUB="validate_data=error")
    assert failed.returncode == 1 and failed.stderr.count("\n") == 1 and "expected a good stage" in failed.stderr
    assert "params.yaml: search.alpha: 1.0 -> 0.5" in failed.stdout and "to take it back: seam undo" in failed.stdout
    assert "params.yaml is as before, without search.alpha: nothing came of it." in failed.stdout
    assert (project / "params.yaml").read_bytes() == before
    stopped = seam(project, "run", "--set", "search.alpha=0.5", SEAM_STUB="validate_data=interrupt")
    assert stopped.returncode == 130 and b"alpha: 0.5" in (project / "params.yaml").read_bytes()
    undone = seam(project, "undo")
    assert undone.returncode == 0 and undone.stdout == "taken back: search.alpha: 1.0 -> 0.5\n", undone.stderr
    assert (project / "params.yaml").read_bytes() == before
    again = seam(project, "undo")
    assert again.returncode == 1 and again.stderr.count("\n") == 1
    refused = seam(project, "run", "--set", "data.path=none.npz")
    assert refused.returncode == 1 and "does not exist" in refused.stderr and refused.stdout == ""
    assert (project / "params.yaml").read_bytes() == before
