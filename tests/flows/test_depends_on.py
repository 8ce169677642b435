"""Which edits raise a question about a stage, and which do not."""

import json
import shutil

import pytest

from flows.depends_on import parameters_of
from tasks.project.code_digests import digests_path
from tasks.project.subject import PIPELINE, Address
from tests.defaults import ROOT, write_params

PROBLEMS = {"a": ["1"], "b": ["2"]}
SEARCH, EVALUATE = (Address("problems/a/dvc.yaml", stage) for stage in ("search", "evaluate"))


@pytest.fixture
def project(tmp_path):
    shutil.copytree(ROOT / "pipelines", tmp_path / "pipelines")
    write(tmp_path)
    return tmp_path


def write(project, code=None, **sections):
    write_params(project / "params.yaml", **{"problems": PROBLEMS, **sections})
    digests_path(project).parent.mkdir(parents=True, exist_ok=True)
    digests = {"search": "1", "evaluate": "1", **(code or {})}
    digests_path(project).write_text(json.dumps({"code": digests, "libraries": "torch"}))


@pytest.mark.parametrize(
    ("edit", "asked"),
    [
        ({"problems": {**PROBLEMS, "c": ["3"]}}, set()),
        ({"problems": {**PROBLEMS, "b": ["4"]}}, set()),
        ({"finetune": {"epochs": 77}}, set()),
        ({"problems": {**PROBLEMS, "a": ["5"]}}, {SEARCH, EVALUATE}),
        ({"seed": 9}, {SEARCH, EVALUATE}),
        ({"search": {"alpha": 9.0}}, {SEARCH}),
        ({"finetune": {"lr": 0.5}}, {SEARCH}),
        ({"evaluate": {"adapt_epochs": 99}}, {EVALUATE}),
        ({"code": {"evaluate": "2"}}, {EVALUATE}),
        ({"code": {"patch": "2"}}, set()),
    ],
)
def test_what_a_stage_does_not_depend_on_raises_no_question(project, edit, asked):
    before = {stage: parameters_of(project, stage) for stage in (SEARCH, EVALUATE)}
    write(project, **edit)
    assert {stage for stage, known in before.items() if parameters_of(project, stage) != known} == asked


@pytest.mark.parametrize(
    "stage", [Address(PIPELINE, "prepare_source"), Address("targets/t/dvc.yaml", "transfer@seam-0")]
)
def test_every_edit_counts_where_the_parameters_cannot_be_told(project, stage):
    before = parameters_of(project, stage)
    write(project, finetune={"epochs": 77})
    assert parameters_of(project, stage) != before


def test_a_template_that_changes_is_read_again(project):
    before = parameters_of(project, SEARCH)
    path = project / "pipelines/problem.yaml"
    path.write_text(path.read_text().replace("    - search\n", "    - search\n    - evaluate\n", 1))
    assert parameters_of(project, SEARCH) != before
