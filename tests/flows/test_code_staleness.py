"""A changed file makes exactly the stages stale that use it, under `seam`'s eyes and DVC's, with stub stages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grimp
import pytest

from flows.stage_cache import address, shared_cache
from seam.errors import CacheError
from tasks.project.change_params import change_params
from tasks.project.params import load_params
from tasks.project.stage import StageContext
from tasks.project.stages import all_stages
from tasks.project.subject import Subject
from tests.flows.dvc_command import dvc as plain_dvc
from tests.flows.ran import ran
from tests.stub_stages import sitecustomize

ROOT = Path(__file__).parents[2]
STUBS = ROOT / "tests" / "stub_stages"
LARGEST_KB = 18.0
"""Of dvc.lock, for one problem."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Everything ran, by plain `dvc repro`; tests leave it so."""
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
        ]
        change_params(root / "params.yaml", changes)
        dvc(root, "repro")
        ran(root)
        patch.chdir(root)
        yield root
        shared_cache.cache_clear()


def dvc(root: Path, *arguments: str) -> str:
    """DVC with stub stages in place of the real ones."""
    return plain_dvc(root, *arguments, PYTHONPATH=f"{STUBS}:{root}")


def status(root: Path) -> set[str]:
    return set(json.loads(dvc(root, "status", "--json")))


def addresses(root: Path) -> list[str]:
    """Of every stage that is in dvc.lock, the digests aside."""
    names = re.findall(r"(?m)^  ([\w@.-]+):$", (root / "dvc.lock").read_text())
    return [name for name in names if name != "digest_code"]


def stale(root: Path) -> dict[str, tuple[str, ...]]:
    """What `seam status` shows as stale, and why."""
    pairs = [(name.partition("@")[0], name.partition("@")[2] or None) for name in addresses(root)]
    found = {address(*pair): shared_cache(root).staleness(*pair).reasons for pair in pairs}
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
    lock = (project / "dvc.lock").read_bytes()
    assert {name.partition("@")[0] for name in addresses(project)} == set(all_stages())
    assert stale(project) == {} and status(project) == set()
    assert "Running stage" not in dvc(project, "repro") and ran(project) == []
    assert (project / "dvc.lock").read_bytes() == lock


@pytest.mark.parametrize("path", FILES)
def test_a_changed_file_makes_exactly_the_stages_stale_that_use_it(project: Path, path: str) -> None:
    with edited(project / path):
        found = stale(project)
    assert {name.partition("@")[0] for name in found} == FILES[path]
    assert set(found) == {name for name in addresses(project) if name.partition("@")[0] in FILES[path]}
    assert set(found.values()) <= {("code modified",)}


def test_dvc_alone_sees_the_change_and_repro_runs_what_uses_it_in_one_command(project: Path) -> None:
    path = project / "seam/measures/restricted.py"
    users = {name for name in addresses(project) if name.partition("@")[0] in FILES["seam/measures/restricted.py"]}
    with edited(path):
        assert status(project) == {"digest_code"}
        stale(project)  # `seam status` has looked
        assert status(project) == {"digest_code", *users}
        dvc(project, "repro")
        assert set(ran(project)) == users
        assert stale(project) == {} and status(project) == set()
    dvc(project, "repro")
    assert ran(project) == []  # taken from DVC's cache of runs
    assert stale(project) == {} and status(project) == set()


def test_another_modularization_makes_nothing_stale_that_is_made_of_others(project: Path) -> None:
    before = {name: (project / name).read_bytes() for name in ("params.yaml", "dvc.lock")}
    change_params(project / "params.yaml", ["modularizations.more={method: decomposition}"])
    dvc(project, "repro")
    assert ran(project) == ["modularize@more"]
    for name, content in before.items():
        (project / name).write_bytes(content)
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
    assert "Running stage 'digest_code'" in dvc(project, "repro") and ran(project) == []
    (project / "tasks/unused.py").unlink()
    dvc(project, "repro")
    assert status(project) == set()


def test_what_seam_ran_is_current_for_dvc(project: Path) -> None:
    with edited(project / "seam/measures/restricted.py", "as never before"):
        run_stale(project)
        assert {name.partition("@")[0] for name in ran(project)} == {"evaluate"}
        assert stale(project) == {} and status(project) == set()
        assert "Running stage" not in dvc(project, "repro") and ran(project) == []
    run_stale(project)
    assert ran(project) == [] and status(project) == set()


def run_stale(root: Path) -> None:
    """As the flow does, for the one stage that is touched here."""
    cache, params = shared_cache(root), load_params(root / "params.yaml")
    for problem in params.problems:
        context = StageContext("evaluate", params, root, Subject("problem", problem))
        if not cache.is_current("evaluate", problem) and not cache.restore("evaluate", problem):
            cache.run("evaluate", problem, lambda c=context: sitecustomize._body(c))  # type: ignore[misc]


def test_code_that_changes_while_its_stage_runs_is_not_recorded(project: Path) -> None:
    cache, params = shared_cache(project), load_params(project / "params.yaml")
    context = StageContext("evaluate", params, project, Subject("problem", "digit-3"))
    path, text = project / "seam/measures/restricted.py", (project / "seam/measures/restricted.py").read_text()

    def edits_its_code() -> None:
        sitecustomize._body(context)
        path.write_text("# another\n")

    with pytest.raises(CacheError, match=r"evaluate@digit-3: the stage's code changed while the stage ran"):
        cache.run("evaluate", "digit-3", edits_its_code)
    assert "evaluate@digit-3" in stale(project)
    path.write_text(text)
    assert stale(project) == {}

    def edits_other_code() -> None:
        sitecustomize._body(context)
        (project / "tasks/unused.py").write_text("# new\n")

    cache.run("evaluate", "digit-3", edits_other_code)
    (project / "tasks/unused.py").unlink()
    ran(project)
    assert cache.is_current("evaluate", "digit-3") and status(project) == set()


def test_one_problem_adds_little_to_the_lock(project: Path) -> None:
    sections = re.split(r"(?m)^(?=  [\w@.-]+:$)", (project / "dvc.lock").read_text())
    ours = [s for s in sections if s.partition("\n")[0].endswith("@digit-3:")]
    assert len(ours) == len([name for name in addresses(project) if name.endswith("@digit-3")]) > 5
    assert sum(map(len, ours)) / 1000 <= LARGEST_KB
