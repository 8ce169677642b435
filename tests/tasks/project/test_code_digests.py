"""Which code a stage uses: by hand on a small tree, and on this project against what Python and grimp see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import grimp
import pytest

from tasks.project import mentions
from tasks.project.code_digests import (
    BEHIND_PLUMBING,
    PLUMBING,
    CodeDigests,
    digests_path,
    is_plumbing,
    libraries,
    read_code,
    write_digests,
)
from tasks.project.stages import all_stages

ROOT = Path(__file__).parents[3]
EVERY = tuple(all_stages())
TREE = {
    "seam/__init__.py": "def __getattr__(name):\n    from seam import door\n    return door\n__version__ = '1'\n",
    "seam/door.py": "",
    "seam/alone.py": "",
    "seam/files.py": "from seam import __version__\n",
    "seam/configs/__init__.py": "",
    "seam/configs/numbers.py": "from seam.types import Number\n",
    "seam/types.py": "",
    "seam/room/__init__.py": "from . import near\ndef lazy():\n    import seam.alone\n",
    "seam/room/near.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from seam import alone\n",
    "seam/room/late.py": "def f():\n    from seam.room import far\n    '''Not seam.alone.'''\n",
    "seam/room/far.py": "open(__file__ + 'words.json')\nNAMES = ['words.json']\n",
    "seam/room/words.json": "{}",
    "seam/room/served.py": "",
    "seam/plug/__init__.py": "",
    "seam/plug/one.py": "",
    "seam/plug/two.py": "import seam.types\n",
    "tasks/__init__.py": "",
    "tasks/project/__init__.py": "",
    "tasks/project/stage.py": "import seam.configs.numbers\nwhich = 'tasks.report.page'\n",
    "tasks/report/__init__.py": "",
    "tasks/report/page.py": "TEMPLATE = 'page.j2'\nCODE = 'other.py'\n",
    "tasks/report/other.py": "",
    "tasks/report/page.j2": "{% include 'style.css' %}",
    "tasks/report/style.css": "",
    "tasks/report/logo.svg": "",
    "tasks/search.py": "from seam.room.late import f\nfrom tasks.project.stage import which\n",
    "tasks/evaluate.py": "import importlib\ndef g(name):\n    importlib.import_module(f'seam.plug.{name}')\n",
    "tasks/transfer.py": "from tasks.report import page\nimport seam.files\n",
}
USED = {
    "search": [
        *("seam/room/__init__.py", "seam/room/far.py", "seam/room/late.py", "seam/room/near.py"),
        *("seam/room/words.json", "seam/types.py", "tasks/search.py"),
    ],
    "evaluate": ["seam/plug/__init__.py", "seam/plug/one.py", "seam/plug/two.py", "seam/types.py", "tasks/evaluate.py"],
    "transfer": [
        *("seam/files.py", "tasks/report/__init__.py", "tasks/report/logo.svg", "tasks/report/other.py"),
        *("tasks/report/page.j2", "tasks/report/page.py", "tasks/report/style.css", "tasks/transfer.py"),
    ],
}


def tree(root: Path, files: dict[str, str] = TREE) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize("stage", USED)
def test_what_a_stage_uses_is_followed_and_nothing_else(tmp_path: Path, stage: str) -> None:
    assert read_code(tree(tmp_path)).files_of(stage) == USED[stage]


@pytest.mark.parametrize("path", TREE)
def test_a_digest_changes_with_the_bytes_a_stage_uses_and_no_others(tmp_path: Path, path: str) -> None:
    before = read_code(tree(tmp_path))
    (tmp_path / path).write_text(f"{TREE[path]}\n")
    after = read_code(tmp_path)
    assert [s for s in USED if before.digest_of(s) != after.digest_of(s)] == [s for s in USED if path in USED[s]]


def test_a_renamed_file_is_another_digest(tmp_path: Path) -> None:
    before = read_code(tree(tmp_path)).digest_of("evaluate")
    (tmp_path / "seam/plug/one.py").rename(tmp_path / "seam/plug/three.py")
    assert read_code(tmp_path).digest_of("evaluate") != before


@pytest.mark.parametrize("catalogue", BEHIND_PLUMBING)
def test_what_only_plumbing_needs_does_not_count(tmp_path: Path, catalogue: str) -> None:
    path = catalogue.replace(".", "/") + ".py"
    files = {
        **TREE,
        **{f"{folder}/__init__.py": "" for folder in Path(path).parents if folder.name},
        path: "",
        "tasks/project/stage.py": f"import {catalogue}\n",
        "tasks/transfer.py": f"import {catalogue}\n",
    }
    code = read_code(tree(tmp_path, files))
    assert path in code.files_of("transfer") and path not in code.files_of("search")


def test_code_that_is_not_python_counts_by_its_bytes_alone(tmp_path: Path) -> None:
    tree(tmp_path, {**TREE, "seam/room/late.py": "def f(:\n"})
    assert "seam/room/late.py" in read_code(tmp_path).files_of("search")


def test_the_file_is_written_when_the_code_changes_and_never_otherwise(tmp_path: Path) -> None:
    tree(tmp_path, {**TREE, **{f"tasks/{stage}.py": TREE.get(f"tasks/{stage}.py", "") for stage in EVERY}})
    digests = CodeDigests(tmp_path)
    assert digests.refresh()
    path, code = digests_path(tmp_path), read_code(tmp_path)
    by_stage = {stage: code.digest_of(stage) for stage in EVERY}
    assert json.loads(path.read_text()) == {"code": by_stage, "libraries": libraries()}
    written = path.stat()
    for noise in ("seam/__pycache__/door.cpython-311.pyc", "seam/door.pyc", "seam/.door.py.swp", "docs/page.md"):
        (tmp_path / noise).parent.mkdir(exist_ok=True)
        (tmp_path / noise).write_text("noise")
    assert not digests.refresh()
    (tmp_path / "tasks/unused.py").write_text("")
    assert digests.refresh()
    assert path.stat().st_mtime_ns == written.st_mtime_ns and path.stat().st_ino == written.st_ino
    (tmp_path / "seam/room/far.py").write_text("")
    before = json.loads(path.read_text())["code"]
    assert digests.refresh() and not digests.refresh()
    after = json.loads(path.read_text())["code"]
    assert [stage for stage in EVERY if before[stage] != after[stage]] == ["search"]
    path.unlink()
    assert digests.refresh() and json.loads(path.read_text())["code"] == after


def test_versions_of_libraries_count_and_builds_for_machines_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"torch": "2.14.1+cu128", "torchvision": "0.29.1", "numpy": "1.26.4", "fvcore": "0.1.5"}

    def version(package: str) -> str:
        if package not in installed:
            raise PackageNotFoundError(package)
        return installed[package]

    monkeypatch.setattr("tasks.project.code_digests.version", version)
    assert libraries.__wrapped__() == "torch 2.14.1, torchvision 0.29.1, numpy 1.26.4, no advertorch, fvcore 0.1.5"


def test_a_file_is_parsed_once_for_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    parse = mentions.mentions_of
    monkeypatch.setattr(
        mentions, "mentions_of", lambda source, package: parsed.append(package) or parse(source, package)
    )
    tree(tmp_path, {**TREE, **{f"tasks/{stage}.py": TREE.get(f"tasks/{stage}.py", "") for stage in EVERY}})
    first = write_digests(tmp_path)
    parsed.clear()
    assert write_digests(tmp_path) == first and parsed == []
    (tmp_path / "seam/room/far.py").write_text("import seam.alone\n")
    assert write_digests(tmp_path) != first and parsed == ["seam.room"]
    (tmp_path / ".dvc/tmp/mentions.json").write_text('{"half a')
    assert write_digests(tmp_path) == write_digests(tmp_path)


LOADED = """
import importlib, json, os, sys
import mlflow, torch, great_expectations  # what takes long, once
found = {}
for stage in sys.argv[1:]:
    read, write = os.pipe()
    if not os.fork():
        importlib.import_module(f"tasks.{stage}")
        ours = [m for m in sys.modules if m.split(".")[0] in ("seam", "tasks")]
        names = [m for m in ours if getattr(sys.modules[m], "__file__", None)]
        os.write(write, json.dumps(names).encode())
        os._exit(0)
    os.close(write)
    found[stage] = json.loads(os.fdopen(read).read())
print(json.dumps(found))
"""


def behind_plumbing(module: str) -> bool:
    """Whether plumbing may load a module, or a package on the way to it, that then does not count."""
    return any(f"{name}.".startswith(f"{module}.") for name in BEHIND_PLUMBING)


def test_all_that_python_loads_for_a_stage_counts() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *EVERY],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    code = read_code(ROOT)
    for stage, loaded in json.loads(done.stdout.splitlines()[-1]).items():
        assert f"tasks.{stage}" in loaded
        counted = {code.modules[m] for m in loaded if not is_plumbing(m) and not behind_plumbing(m)}
        assert counted <= set(code.files_of(stage)), stage


@pytest.fixture(scope="module")
def leads_to() -> dict[str, set[str]]:
    """Module -> those that its imports as grimp sees them lead to, packages on the way, and what its file quotes."""
    graph = grimp.build_graph("seam", "tasks", cache_dir=None, exclude_type_checking_imports=True)
    code = read_code(ROOT)
    quoted = {m: (f'"{m}"', f'f"{m.rpartition(".")[0]}.{{', f'"{Path(path).name}"') for m, path in code.modules.items()}
    found = {}
    for module, path in code.modules.items():
        text = code.files[path].decode()
        found[module] = {m for m, words in quoted.items() if any(word in text for word in words)}
        found[module] |= graph.find_modules_directly_imported_by(module) | {module.rpartition(".")[0]} - {""}
    return found


@pytest.mark.parametrize("stage", EVERY)
def test_no_more_counts_than_imports_lead_to(stage: str, leads_to: dict[str, set[str]]) -> None:
    code = read_code(ROOT)
    reached: set[str] = set()
    new = {f"tasks.{stage}"}
    while new := new - reached:
        reached |= new
        new = {m for r in new for m in leads_to[r]}
    assert {p for p in code.files_of(stage) if p.endswith(".py")} <= {code.modules[m] for m in reached}


def test_every_rule_says_why_and_names_what_is_there() -> None:
    modules = read_code(ROOT).modules
    for name, why in {**PLUMBING, **BEHIND_PLUMBING}.items():
        assert name.removesuffix(".__init__") in modules and why
