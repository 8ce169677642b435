"""dvc.yaml, params.yaml, the stage files and the code they import say the same."""

import ast
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tasks.project.params import Params
from tasks.project.stages import all_stages, kind_of
from tasks.project.students import StudentName
from tasks.project.subject import Subject, flags, stage_folder

ROOT = Path(__file__).parents[2]
STAGES = tuple(all_stages())
STAGES_OF_DVC = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
NOT_RESULTS = {
    *("tasks/__init__.py", "seam/__init__.py", "seam/errors.py", "tasks/tracking/runs.py", "tasks/tracking/store.py"),
    *(
        str(p.relative_to(ROOT))
        for p in [*(ROOT / "tasks/project").glob("*.py"), *(ROOT / "seam/configs").glob("*.py")]
    ),
}
"""Files that cannot change a result by themselves: plumbing, logging to MLflow, and parameters that
DVC compares by value."""


def _definition(stage):
    return STAGES_OF_DVC[stage].get("do", STAGES_OF_DVC[stage])


def _subject(stage):
    """The subject of a stage in the words of dvc.yaml, None for a stage of the project."""
    kind = kind_of(stage)
    if kind is None:
        return None
    if all_stages()[stage].of == "student":
        return Subject(kind.name, f"${{item.{kind.name}}}", StudentName("${item.method}", "${item.seed}"))
    return Subject(kind.name, "${key}")


def _flat(entries):
    return [next(iter(e)) if isinstance(e, dict) else e for e in entries or []]


def _imported(path):
    """Project files that `path` imports, directly."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
        for name in names:
            file = ROOT / Path(*name.split("."))
            found |= {
                f
                for f in (file.with_suffix(".py"), file / "__init__.py")
                if f.is_file() and ROOT in f.parents and name.split(".")[0] in ("seam", "tasks")
            }
    return found


def _closure(path):
    todo, seen = [path], set()
    while todo:
        file = todo.pop()
        if file not in seen:
            seen.add(file)
            todo += _imported(file)
    return {str(f.relative_to(ROOT)) for f in seen}


def test_every_stage_is_in_dvc_and_has_a_file():
    assert set(STAGES_OF_DVC) == set(STAGES)
    for stage in STAGES:
        assert (ROOT / "tasks" / f"{stage}.py").is_file()
        assert _definition(stage)["cmd"] == " ".join(["python -m", f"tasks.{stage}", *flags(_subject(stage))])


@pytest.mark.parametrize("stage", STAGES)
def test_code_dependencies_are_what_the_stage_imports(stage):
    declared = {d for d in _flat(_definition(stage)["deps"]) if d.endswith((".py", ".j2"))}
    expected = _closure(ROOT / "tasks" / f"{stage}.py") - NOT_RESULTS
    assert {d for d in declared if d.endswith(".py")} == expected, (
        f"deps of {stage} in dvc.yaml should list {sorted(expected)}"
    )


@pytest.mark.parametrize("stage", STAGES)
def test_declared_parameters_exist(stage):
    for name in _definition(stage).get("params", []):
        assert name.split(".")[0] in Params.model_fields


@pytest.mark.parametrize("stage", STAGES)
def test_outputs_lie_in_the_stages_own_folder(stage):
    definition = _definition(stage)
    folder = f"{stage_folder(Path(), stage, _subject(stage))}/"
    outs = [o for kind in ("outs", "metrics", "plots") for o in _flat(definition.get(kind))]
    assert outs
    assert all(o.startswith(folder) for o in outs)
