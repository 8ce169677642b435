"""A changed file makes exactly the stages stale that use it, under `seam`'s eyes and DVC's, with stub stages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grimp
import pytest

from flows.stage_cache import shared_cache
from seam.errors import CacheError
from tasks.project.change_params import change_params
from tasks.project.layout import lay_out
from tasks.project.lock_text import split
from tasks.project.params import load_params
from tasks.project.stage import StageContext
from tasks.project.stages import all_stages
from tasks.project.subject import Address, StageRun, Subject, address_of
from tests.flows.dvc_command import dvc as plain_dvc
from tests.flows.ran import ran
from tests.stub_stages import sitecustomize

ROOT = Path(__file__).parents[2]
STUBS = ROOT / "tests" / "stub_stages"
LARGEST_KB = 18.0
"""Of the lock of one problem."""
EVALUATED = address_of("evaluate", Subject("problem", "digit-3"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Everything ran, by plain `dvc repro -P`; tests leave it so."""
    folder = tmp_path_factory.mktemp("code")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_SITE_CACHE_DIR", str(folder / "site"))
        patch.setenv("DVC_NO_ANALYTICS", "1")
        root: Path = sitecustomize.make_project(folder / "project")
        changes = [
            "targets={digits: {kind: npz, path: data/digits.npz}}",
            "transfer.methods=[standard]",
            "restructurings={flat: {}}",
            "modularizations={parts: {}}",
            "patches={fix: {of: parts, class: a}}",
            "compositions={few: {of: [parts]}}",
            "selections={best: {candidates: [weights]}}",
        ]
        change_params(root / "params.yaml", changes)
        lay_out(root, load_params(root / "params.yaml"))
        dvc(root, "repro", "-P")
        ran(root)
        patch.chdir(root)
        yield root
        shared_cache.cache_clear()


def dvc(root: Path, *arguments: str) -> str:
    """DVC with stub stages in place of the real ones."""
    return plain_dvc(root, *arguments, PYTHONPATH=f"{STUBS}:{root}")


def status(root: Path) -> set[str]:
    return set(json.loads(dvc(root, "status", "--json")))


def locks(root: Path) -> dict[Path, bytes]:
    """Every lock there is."""
    return {path: path.read_bytes() for path in sorted(root.rglob("dvc.lock"))}


def recorded(root: Path) -> list[Address]:
    """Every stage that is in a lock, but those of DVC alone."""
    found = [
        Address(str(path.relative_to(root).with_name("dvc.yaml")), name)
        for path, text in locks(root).items()
        for name in split(text.decode()) or {}
    ]
    return [stage for stage in found if stage_of(stage) not in ("digest_code", "lay_out")]


def stage_of(address: Address | str) -> str:
    return str(address).rpartition(":")[2].partition("@")[0]


def stale(root: Path) -> dict[str, tuple[str, ...]]:
    """What `seam status` shows as stale, and why."""
    found = {str(stage): shared_cache(root).staleness(stage).reasons for stage in recorded(root)}
    return {name: reasons for name, reasons in found.items() if reasons}


@contextmanager
def edited(path: Path, comment: str = "edited") -> Iterator[None]:
    """A comment more, for the length of the block."""
    before = path.read_bytes()
    path.write_bytes(before + f"# {comment}\n".encode())
    try:
        yield
    finally:
        path.write_bytes(before)


def importing(module: str) -> set[str]:
    """Stages that import a module, by grimp."""
    graph = grimp.build_graph("seam", "tasks", cache_dir=None, exclude_type_checking_imports=True)
    return {
        stage for stage in all_stages() if module in graph.find_upstream_modules(f"tasks.{stage}") | {f"tasks.{stage}"}
    }


FILES = {
    path: importing(path.removesuffix(".py").replace("/", "."))
    for path in (
        *("seam/measures/restricted.py", "seam/masks/pack.py", "seam/defects/whitebox.py", "seam/files.py"),
        *("seam/data/formats/npz.py", "seam/training/loop.py", "tasks/inputs/target.py", "tasks/search.py"),
    )
} | {
    "tasks/report/report_template.html.j2": {"register_model"},
    "tasks/report/transfer_template.html.j2": {"compare_transfers"},
    "tasks/tracking/serving_model.py": {
        "register_model",
        "register_transfer",
        "register_composition",
        "register_patch",
        "register_restructuring",
    },
    "seam/data/imagenet_superclasses.json": set(),
    "tasks/project/params.py": set(),
    "seam/configs/search.py": set(),
    "flows/pipeline.py": set(),
}


def test_everything_is_current_for_all_of_them(project: Path) -> None:
    before = locks(project)
    assert {stage_of(stage) for stage in recorded(project)} == set(all_stages())
    assert stale(project) == {} and status(project) == set()
    assert "Running stage" not in dvc(project, "repro", "-P") and ran(project) == []
    assert locks(project) == before


@pytest.mark.parametrize("path", FILES)
def test_a_changed_file_makes_exactly_the_stages_stale_that_use_it(project: Path, path: str) -> None:
    with edited(project / path):
        found = stale(project)
    assert {stage_of(name) for name in found} == FILES[path]
    assert set(found) == {str(stage) for stage in recorded(project) if stage_of(stage) in FILES[path]}
    assert set(found.values()) <= {("code modified",)}


def test_dvc_alone_sees_the_change_and_repro_runs_what_uses_it_in_one_command(project: Path) -> None:
    path = project / "seam/measures/restricted.py"
    users = {StageRun("evaluate", Subject("problem", name)) for name in ("digit-3", "low-digits")}
    with edited(path):
        assert status(project) == {"digest_code"}
        stale(project)  # `seam status` has looked
        assert status(project) == {"digest_code", *(str(user.address) for user in users)}
        dvc(project, "repro", "-P")
        assert set(ran(project)) == {f"{user.stage}@{user.subject}" for user in users}
        assert stale(project) == {} and status(project) == set()
    dvc(project, "repro", "-P")
    assert ran(project) == []  # taken from DVC's cache of runs
    assert stale(project) == {} and status(project) == set()


def test_another_modularization_makes_nothing_stale_that_is_made_of_others(project: Path) -> None:
    params = project / "params.yaml"
    before = locks(project) | {params: params.read_bytes()}
    change_params(params, ["modularizations.more={method: decomposition}"])
    lay_out(project, load_params(params))
    dvc(project, "repro", "-P")
    assert ran(project) == ["modularize@more"]
    for path, content in before.items():
        path.write_bytes(content)
    lay_out(project, load_params(params))
    (project / "artifacts/modularized/more.json").unlink()
    assert stale(project) == {} and status(project) == set()


def test_what_is_no_code_makes_nothing_stale(project: Path) -> None:
    noise = ("seam/masks/__pycache__/pack.cpython-311.pyc", "seam/masks/old.pyc", "tests/test_new.py", "docs/new.md")
    for name in noise:
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text("# new\n")
    assert stale(project) == {} and status(project) == set()
    (project / "tasks/unused.py").write_text("# new\n")
    assert stale(project) == {} and status(project) == {"digest_code"}
    assert "Running stage 'digest_code'" in dvc(project, "repro", "-P") and ran(project) == []
    (project / "tasks/unused.py").unlink()
    dvc(project, "repro", "-P")
    assert status(project) == set()


def test_what_seam_ran_is_current_for_dvc(project: Path) -> None:
    with edited(project / "seam/measures/restricted.py", "as never before"):
        run_stale(project)
        assert {stage_of(name) for name in ran(project)} == {"evaluate"}
        assert stale(project) == {} and status(project) == set()
        assert "Running stage" not in dvc(project, "repro", "-P") and ran(project) == []
    run_stale(project)
    assert ran(project) == [] and status(project) == set()


def run_stale(root: Path) -> None:
    """As the flow does, for the one stage that is touched here."""
    cache, params = shared_cache(root), load_params(root / "params.yaml")
    for problem in params.problems:
        context = StageContext("evaluate", params, root, Subject("problem", problem))
        stage = context.run.address
        if not cache.is_current(stage) and not cache.restore(stage):
            cache.run(stage, lambda c=context: sitecustomize._body(c))  # type: ignore[misc]


def test_code_that_changes_while_its_stage_runs_is_not_recorded(project: Path) -> None:
    cache, params = shared_cache(project), load_params(project / "params.yaml")
    context = StageContext("evaluate", params, project, Subject("problem", "digit-3"))
    path, text = project / "seam/measures/restricted.py", (project / "seam/measures/restricted.py").read_text()

    def edits_its_code() -> None:
        sitecustomize._body(context)
        path.write_text("# another\n")

    with pytest.raises(CacheError, match=r"digit-3/dvc.yaml:evaluate: the stage's code changed while the stage ran"):
        cache.run(EVALUATED, edits_its_code)
    assert str(EVALUATED) in stale(project)
    path.write_text(text)
    assert stale(project) == {}

    def edits_other_code() -> None:
        sitecustomize._body(context)
        (project / "tasks/unused.py").write_text("# new\n")

    cache.run(EVALUATED, edits_other_code)
    (project / "tasks/unused.py").unlink()
    ran(project)
    assert cache.is_current(EVALUATED) and status(project) == set()


def test_the_lock_of_a_problem_is_small_and_its_own(project: Path) -> None:
    small = {path.parent.name: len(content) for path, content in locks(project).items() if "problems" in path.parts}
    assert set(small) == {"digit-3", "low-digits"} and max(small.values()) / 1000 <= LARGEST_KB
    assert not [s for s in recorded(project) if s.file == "dvc.yaml" and all_stages()[s.name].of != "project"]
