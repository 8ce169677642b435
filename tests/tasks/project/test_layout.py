"""A pipeline file a subject: written from templates, old records moved to it, and nothing of the user's lost."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from seam.errors import CacheError, ConfigError
from tasks import lay_out as stage
from tasks.project.change_params import change_params
from tasks.project.layout import Laid, lay_out
from tasks.project.lock_text import split
from tasks.project.params import Params, load_params
from tests.defaults import ROOT, write_params

HEAD = "schema: '2.0'\nstages:\n"
OF_TARGETS = ["targets={flowers: {kind: image_folder, path: flowers}, flowers-seam: {kind: npz, path: f.npz}}"]


def section(name: str, text: str = "x") -> str:
    return f"  {name}:\n    cmd: run {text}\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "pipelines", tmp_path / "pipelines")
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    write_params(tmp_path / "params.yaml", problems={"a": ["0"], "b-1": ["1"]})
    return tmp_path


def laid(root: Path, *changes: str) -> Laid:
    change_params(root / "params.yaml", changes)
    return lay_out(root, load_params(root / "params.yaml"))


def names(path: Path) -> list[str]:
    """Of the stages that a lock records."""
    return list(split(path.read_text()) or {})


def snapshot(root: Path) -> dict[Path, str]:
    return {path: path.read_text() for path in root.rglob("*") if path.is_file()}


def test_every_subject_gets_its_file_once(root: Path) -> None:
    found = laid(root, *OF_TARGETS)
    assert [str(s.folder) for s in found.written] == [
        "problems/a",
        "problems/b-1",
        "targets/flowers",
        "targets/flowers-seam",
    ]
    text = (root / "problems/b-1/dvc.yaml").read_text()
    mark, _, body = text.partition("\n")
    assert re.fullmatch(r"# Written by seam from pipelines/problem.yaml, which is the one to edit \(\w{16}\)", mark)
    assert body == (ROOT / "pipelines/problem.yaml").read_text().replace("${key}", "b-1") and "${" not in body
    before = snapshot(root)
    assert not laid(root) and snapshot(root) == before
    assert not list(root.rglob("dvc.lock"))


def test_a_changed_template_is_written_again_and_stages_that_it_lost_leave_the_lock(root: Path) -> None:
    laid(root)
    lock = root / "problems/a/dvc.lock"
    lock.write_text(HEAD + section("search") + section("extra"))
    path = root / "pipelines/problem.yaml"
    path.write_text(path.read_text() + "\n  extra:\n    wdir: ../..\n    cmd: echo ${key}\n")
    assert len(laid(root).written) == 2 and "cmd: echo a\n" in (root / "problems/a/dvc.yaml").read_text()
    assert names(lock) == ["search", "extra"]
    shutil.copy(ROOT / "pipelines/problem.yaml", path)
    assert str(laid(root)) == "problems/a/dvc.yaml, problems/b-1/dvc.yaml written"
    assert names(lock) == ["search"]


def test_what_is_gone_is_removed_and_files_of_others_stay(root: Path) -> None:
    laid(root, *OF_TARGETS)
    (root / "problems/a/dvc.lock").write_text(HEAD + section("search"))
    (root / "problems/b-1/dvc.lock").write_text(HEAD + section("search"))
    (root / "problems/b-1/notes.txt").write_text("mine")
    (root / "problems/own").mkdir()
    (root / "problems/own/dvc.yaml").write_text("stages: {}\n")
    found = laid(root, "problems={c: ['2']}", "targets={}")
    assert set(found.removed) == {"problems/a", "problems/b-1", "targets/flowers", "targets/flowers-seam"}
    left = {str(p.relative_to(root)) for p in (root / "problems").rglob("*") if p.is_file()}
    assert left == {"problems/b-1/notes.txt", "problems/c/dvc.yaml", "problems/own/dvc.yaml"}
    assert not (root / "targets").exists()


def test_records_of_the_projects_one_lock_move_to_the_subjects(root: Path) -> None:
    own = section("validate_data") + section("mine@a")
    old = [section("search@a", "1"), section("evaluate@a"), section("search@gone"), section("search@b-1", "2")]
    old += [section("transfer@flowers-seam-50-0", "3"), section("transfer@flowers-seam-seam-1", "4")]
    old += [section("attack_target@flowers")]
    (root / "dvc.lock").write_text(HEAD + own + "".join(old))
    found = laid(root, *OF_TARGETS)
    assert found.moved == 6 and "6 stages moved from dvc.lock to locks of their own" in str(found)
    assert (root / "dvc.lock").read_text() == HEAD + own
    assert (root / "problems/a/dvc.lock").read_text() == HEAD + section("search", "1") + section("evaluate")
    assert (root / "problems/b-1/dvc.lock").read_text() == HEAD + section("search", "2")
    assert (root / "targets/flowers/dvc.lock").read_text() == HEAD + section("transfer@seam-50-0", "3") + section(
        "attack_target"
    )
    assert names(root / "targets/flowers-seam/dvc.lock") == ["transfer@seam-1"]
    assert not laid(root)


def test_what_a_subject_has_recorded_since_is_kept_over_an_older_record(root: Path) -> None:
    (root / "dvc.lock").write_text(HEAD + section("search@a", "old") + section("evaluate@a"))
    (root / "problems/a").mkdir(parents=True)
    (root / "problems/a/dvc.lock").write_text(HEAD + section("search", "new"))
    laid(root)
    assert not (root / "dvc.lock").exists()
    assert (root / "problems/a/dvc.lock").read_text() == HEAD + section("search", "new") + section("evaluate")


OLD = """  evaluate@a:
    cmd: python -m tasks.evaluate --problem a
    params:
      params.yaml:
        evaluate:
          adapt_epochs: 10
        prepare_source:
          architecture: resnet20
          mean:
          augment: crop_flip
          lr: [1, 2]
        problems.a:
        - '0'
        search:
          augment: crop
          lr_head: 0.01
          norm_layers: learn
          ramp:
          - 1
        seed: 0
      artifacts/digest_code/code.json:
        code.evaluate: 5a5b856074e5ad78
"""
NEW = """  evaluate:
    cmd: python -m tasks.evaluate --problem a
    params:
      params.yaml:
        evaluate:
          adapt_epochs: 10
        prepare_source.augment: crop_flip
        prepare_source.lr: [1, 2]
        problems.a:
        - '0'
        search.augment: crop
        search.lr_head: 0.01
        search.norm_layers: learn
        seed: 0
      artifacts/digest_code/code.json:
        code.evaluate: 5a5b856074e5ad78
"""


def test_where_a_template_names_fewer_parameters_their_record_says_the_same_of_those(root: Path) -> None:
    (root / "dvc.lock").write_text(HEAD + OLD)
    laid(root)
    assert (root / "problems/a/dvc.lock").read_text() == HEAD + NEW


CONFLICT = f"{HEAD}<<<<<<< HEAD\n{section('search@a', '1')}=======\n{section('search@a', '2')}>>>>>>> other\n"


def _write(name: str, text: str):
    def write(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)

    return write


def _edit(name: str, old: str, new: str):
    def edit(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new))

    return edit


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (
            _write("dvc.lock", CONFLICT),
            r"dvc\.lock: .*conflict of a merge in line 3; take either side, git checkout --ours",
        ),
        (_write("dvc.lock", HEAD + "  'search@a':\n    cmd: x\n"), r"dvc\.lock: expected it as DVC writes it"),
        (
            _edit("problems/a/dvc.yaml", "cmd: python", "cmd: nice python"),
            r"problems/a/dvc\.yaml: .*changed by hand, or half",
        ),
        (_write("problems/a/dvc.yaml", "stages: {}\n"), r"problems/a/dvc\.yaml: .*one of your own; move it"),
        (_edit("problems/gone/dvc.yaml", "cmd: python", "cmd: nice"), r"problems/gone/dvc\.yaml: .*changed by hand"),
        (_write("pipelines/problem.yaml", "stages: [\n"), r"pipelines/problem\.yaml: expected YAML, got"),
        (
            _write("pipelines/problem.yaml", "stages: []\n"),
            r"expected a stage 'split_dataset' with wdir: \.\./\.\., got none",
        ),
        (
            _edit("pipelines/problem.yaml", "wdir: ../..", "wdir: ."),
            r"'split_dataset' with wdir: \.\./\.\., got wdir: \.",
        ),
        (
            lambda root: (root / "pipelines/problem.yaml").unlink(),
            r"pipelines/problem\.yaml: .*no such file; `git checkout pip",
        ),
        (
            _edit("dvc.yaml", "stages:\n", "stages:\n  search:\n    cmd: x\n"),
            r"dvc\.yaml: .*got 'search', which is in pipelines/prob",
        ),
        (_write("restructurings", "x"), r"restructurings/flat/dvc\.yaml: expected the place of a subject's dvc\.yaml"),
        (
            _edit("params.yaml", "path: data/digits.npz", "path: problems"),
            r"data\.path: expected data apart from problems/a/",
        ),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(root: Path, spoil, line: str) -> None:
    laid(root, "problems={a: ['0'], gone: ['1']}")
    (root / "problems/a/dvc.lock").write_text(HEAD + section("search"))
    change_params(root / "params.yaml", ["problems={a: ['0'], new: ['1']}", "restructurings={flat: {}}"])
    spoil(root)
    before = snapshot(root)
    with pytest.raises((ConfigError, CacheError), match=line) as caught:
        lay_out(root, load_params(root / "params.yaml"))
    assert "\n" not in str(caught.value) and snapshot(root) == before


@pytest.mark.parametrize("name", ["../up", "a/b", "A", "a.b", "..", ""])
def test_no_name_leads_out_of_the_folder_of_its_kind(name: str) -> None:
    with pytest.raises(ValueError, match="name is lower-case letters"):
        Params(problems={name: ["0"]})


def test_dvc_is_told_to_start_again_where_it_has_read_other_files(root: Path) -> None:
    with pytest.raises(
        SystemExit, match=r"problems/a/dvc.yaml, problems/b-1/dvc.yaml written\. .* run the same command"
    ):
        stage.lay_out(root)
    stage.lay_out(root)
    (root / "pipelines/problem.yaml").unlink()
    with pytest.raises(SystemExit, match=r"error: .*no such file"):
        stage.lay_out(root)
