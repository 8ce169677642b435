"""dvc.yaml, the templates in pipelines/, params.yaml and the stage files say the same."""

import re
from dataclasses import fields
from inspect import getsource
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from seam.configs.training import FinetuneConfig
from seam.training.finetune import adapt, train_from_scratch
from tasks.project.code_digests import PACKAGES, digests_path
from tasks.project.params import Params, parse_params
from tasks.project.stages import DIGEST_STAGE, KINDS, LAYOUT_STAGE, MODULARIZED, all_stages, kind_of
from tasks.project.students import StudentName
from tasks.project.subject import Subject, entries, flags, stage_folder
from tests.defaults import committed

ROOT = Path(__file__).parents[2]
STAGES = tuple(all_stages())
PROJECT, *TEMPLATES = (
    YAML(typ="safe").load(path.read_text())["stages"]
    for path in (ROOT / "dvc.yaml", *(ROOT / "pipelines" / f"{kind}.yaml" for kind in KINDS))
)
STAGES_OF_DVC = {name: stage for stages in (PROJECT, *TEMPLATES) for name, stage in stages.items()}
OF_DVC_ALONE = {DIGEST_STAGE, LAYOUT_STAGE}


def _definition(stage):
    return STAGES_OF_DVC[stage]


def _subject(stage):
    """The subject of a stage in the words of its template, None for a stage of the project."""
    kind = kind_of(stage)
    if kind is None:
        return None
    student = StudentName("${item.method}", "${item.seed}") if all_stages()[stage].of == "student" else None
    return Subject(kind.name, "${key}", student)


def _flat(entries):
    return [next(iter(e)) if isinstance(e, dict) else e for e in entries or []]


def test_every_stage_is_in_dvc_and_has_a_file():
    assert set(STAGES_OF_DVC) == {*STAGES, *OF_DVC_ALONE}
    for stage in STAGES:
        assert (ROOT / "tasks" / f"{stage}.py").is_file()
        assert _definition(stage)["cmd"] == " ".join(["python -m", f"tasks.{stage}", *flags(_subject(stage))])


def test_a_stage_is_in_the_file_of_what_it_works_on():
    assert set(PROJECT) == {*OF_DVC_ALONE, *(name for name, stage in all_stages().items() if stage.of == "project")}
    for kind, template in zip(KINDS.values(), TEMPLATES, strict=True):
        assert tuple(template) == kind.of_subjects
        assert {stage["wdir"] for stage in template.values()} == {"../.."}


def test_the_committed_pipelines_are_what_the_templates_say():
    """Of the subjects as committed."""
    params = parse_params(YAML(typ="safe").load(committed("params.yaml")), "params.yaml")
    for kind in KINDS.values():
        for name in entries(params, kind):
            text = committed(f"{Subject(kind.name, name).folder}/dvc.yaml").partition("\n")[2]
            assert text == committed(f"pipelines/{kind.name}.yaml").replace("${key}", name)


def test_no_lock_records_what_is_another_files():
    recorded = YAML(typ="safe").load(committed("dvc.lock"))["stages"]
    assert set(recorded) <= set(PROJECT)


def test_the_layout_depends_on_what_it_is_made_from():
    assert STAGES_OF_DVC[LAYOUT_STAGE] == {"cmd": "python -m tasks.lay_out", "deps": ["params.yaml", "pipelines"]}
    assert next(iter(PROJECT)) == LAYOUT_STAGE  # DVC runs it first


@pytest.mark.parametrize("stage", STAGES)
def test_the_code_is_one_digest_a_stage(stage):
    (digests,) = [p for p in _definition(stage)["params"] if isinstance(p, dict)]
    (named,) = digests.values()
    assert digests.keys() == {str(digests_path(Path()))}
    assert named in ([f"code.{stage}"], [f"code.{stage}", "libraries"])
    assert not [d for d in _flat(_definition(stage).get("deps")) if d.startswith(PACKAGES)]


def test_every_stage_that_trains_or_measures_a_network_depends_on_the_versions_it_computes_with():
    """Those that only read, write and register, and those that only take times, do not."""
    assert {s for s in STAGES if "libraries" in str(_definition(s)["params"])} == {
        s
        for s in STAGES
        if not s.startswith(("validate_", "split_", "register_", "compare_", "list_")) and not all_stages()[s].times
    }


def test_times_are_said_to_be_of_a_machine_in_a_file_of_their_stage():
    timed = {name: stage.times for name, stage in all_stages().items() if stage.times}
    assert set(timed) == {"profile_source", "benchmark_latency"}
    for name, (file, _) in timed.items():
        assert f"{stage_folder(Path(), name, _subject(name))}/{file}" in _flat(_definition(name)["outs"])


def test_no_stage_depends_on_the_machine():
    for stage in STAGES:
        assert not [d for d in _flat(_definition(stage).get("deps")) if "machine" in d]


def test_the_digests_are_made_from_all_that_stages_consist_of():
    assert STAGES_OF_DVC[DIGEST_STAGE]["deps"] == [*PACKAGES]
    assert _flat(STAGES_OF_DVC[DIGEST_STAGE]["outs"]) == [str(digests_path(Path()))]


@pytest.mark.parametrize("stage", STAGES)
def test_artifacts_a_stage_reads_are_made_by_another(stage):
    made = {
        o
        for other in set(STAGES) - {stage}
        for kind in ("outs", "metrics", "plots")
        for o in _flat(_definition(other).get(kind))
    }
    for path in _flat(_definition(stage).get("deps")):
        if path.startswith("artifacts/"):
            folder = path in ("artifacts/${key}/students", f"artifacts/{MODULARIZED}")  # of outs
            assert path in made or folder, path


@pytest.mark.parametrize("stage", STAGES)
def test_declared_parameters_exist(stage):
    for name in [p for p in _definition(stage)["params"] if isinstance(p, str)]:
        assert name.split(".")[0] in Params.model_fields


def test_the_search_depends_on_what_it_trains_layouts_with():
    """How long, how rates fall and which are tried is the trials' own, or the fine-tuning's alone."""
    declared = {p.partition(".")[2] for p in _definition("search")["params"] if str(p).startswith("finetune.")}
    assert declared == {f.name for f in fields(FinetuneConfig)} - {"epochs", "schedule", "rates", "probe_epochs"}


def test_the_evaluation_depends_on_what_it_trains_compared_networks_with():
    """Of the sections of the search and of the source, what these functions read of their configs."""
    read = {
        "search": [*re.findall(r"config\.(\w+)", getsource(adapt)), "norm_layers"],
        "prepare_source": re.findall(r"config\.(\w+)", getsource(train_from_scratch)),
    }
    source = (ROOT / "tasks/evaluate.py").read_text()
    assert re.findall(r"params\.search\.(\w+)", source) == ["norm_layers"]
    assert "replace(params.prepare_source, epochs=params.evaluate.retrain_epochs)" in source
    for section, names in read.items():
        declared = {p.partition(".")[2] for p in _definition("evaluate")["params"] if str(p).startswith(f"{section}.")}
        assert declared == set(names) - {"epochs"} and declared


@pytest.mark.parametrize("stage", STAGES)
def test_outputs_lie_in_the_stages_own_folder(stage):
    definition = _definition(stage)
    folder = f"{stage_folder(Path(), stage, _subject(stage))}/"
    outs = [o for kind in ("outs", "metrics", "plots") for o in _flat(definition.get(kind))]
    assert outs
    assert all(o.startswith((folder, f"artifacts/{MODULARIZED}/")) for o in outs)
