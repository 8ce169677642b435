"""Problems, targets and students as one record, and what follows from it."""

import dataclasses
import json
from pathlib import Path

import pytest

from seam.errors import ConfigError
from tasks.project.params import Params, parse_params
from tasks.project.stage import StageContext
from tasks.project.stages import KINDS, TARGET, all_stages, kind_of
from tasks.project.students import StudentName
from tasks.project.subject import (
    Address,
    Subject,
    address_of,
    check,
    chosen,
    flags,
    label_of,
    stage_folder,
)

ROOT = Path(__file__).parents[3]
DIGIT = Subject("problem", "digit-3")
FLOWERS = Subject("target", "flowers")
STUDENT = FLOWERS.of(StudentName("seam-50", 1))


@pytest.mark.parametrize(
    ("stage", "subject", "folder", "label", "address", "words"),
    [
        ("prepare_source", None, "artifacts/prepare_source", "prepare_source", "prepare_source", ""),
        (
            "search",
            DIGIT,
            "artifacts/digit-3/search",
            "search [digit-3]",
            "problems/digit-3/dvc.yaml:search",
            "--problem digit-3",
        ),
        (
            "attack_target",
            FLOWERS,
            "artifacts/flowers/attack_target",
            "attack_target [flowers]",
            "targets/flowers/dvc.yaml:attack_target",
            "--target flowers",
        ),
        (
            "transfer",
            STUDENT,
            "artifacts/flowers/students/seam-50-seed1",
            "transfer [flowers seam-50 seed 1]",
            "targets/flowers/dvc.yaml:transfer@seam-50-1",
            "--target flowers --method seam-50 --seed 1",
        ),
    ],
)
def test_where_what_and_how_it_is_called(stage, subject, folder, label, address, words) -> None:
    assert stage_folder(Path("r"), stage, subject) == Path("r") / folder
    assert label_of(stage, subject) == label
    assert str(address_of(stage, subject)) == address
    assert " ".join(flags(subject)) == words


def test_what_records_a_stage_lies_beside_what_defines_it() -> None:
    assert address_of("transfer", STUDENT).lock == "targets/flowers/dvc.lock"
    assert address_of("prepare_source", None).lock == "dvc.lock"
    assert len({address_of("search", DIGIT), Address("problems/digit-3/dvc.yaml", "search")}) == 1


def test_a_student_reads_what_its_target_and_the_project_published() -> None:
    context = StageContext("transfer", Params(problems={"p": ("a",)}), Path("r"), STUDENT)
    assert context.folder("transfer") == Path("r/artifacts/flowers/students/seam-50-seed1")
    assert context.folder("attack_target") == Path("r/artifacts/flowers/attack_target")
    assert context.folder("transfer", StudentName("retrain", 0)) == Path("r/artifacts/flowers/students/retrain-seed0")
    assert (context.name, context.student, context.whole) == ("flowers", STUDENT.student, FLOWERS)


def test_names_in_the_registry_and_among_runs() -> None:
    params = parse_params({"problems": {"digit-3": ["3"]}, "register_model": {"name_prefix": "my-"}}, "test")
    assert DIGIT.registered_name(params) == "my-digit-3" and DIGIT.deed == "digit-3"
    assert STUDENT.registered_name(params) == "my-transfer-flowers" and STUDENT.deed == "transfer flowers"
    assert DIGIT.command == "seam run --problem digit-3" and FLOWERS.command == "seam transfer --target flowers"


def test_a_subject_is_a_key_and_crosses_as_json() -> None:
    assert len({STUDENT, FLOWERS.of(StudentName("seam-50", 1)), STUDENT.whole, FLOWERS}) == 2
    sent = json.loads(json.dumps(dataclasses.asdict(STUDENT)))
    assert Subject(sent["kind"], sent["name"], StudentName(**sent["student"])) == STUDENT


def test_an_unknown_one_is_said_with_those_there_are() -> None:
    params = Params(problems={"p": ("a",)})
    with pytest.raises(ConfigError, match=r"unknown problem 'q', expected one of: p; add it under `problems`"):
        check(params, Subject("problem", "q"))
    with pytest.raises(
        ConfigError, match=r"unknown target 'q', expected a data set under `targets`, which has none; add it under"
    ):
        check(params, Subject("target", "q"))
    with pytest.raises(ConfigError, match=r"params\.yaml has no target to transfer to"):
        chosen(params, TARGET)


def test_every_stage_is_of_one_kind_or_of_the_project() -> None:
    names = [stage.name for kind in KINDS.values() for stage in kind.stages if stage.of != "project"]
    assert len(names) == len(set(names))
    for name, stage in all_stages().items():
        assert (kind_of(name) is None) == (stage.of == "project")
    for kind in KINDS.values():
        assert {kind.data, kind.registers, kind.reports} - {None} <= {s.name for s in kind.stages}
        assert kind.source in all_stages()
