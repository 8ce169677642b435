"""Advice: every hint that a stage can be given names a parameter that there is, or the stage to run again."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

import grimp
import pytest

import seam
from seam.configs.networks import SourceConfig
from seam.errors import DataError, Hint, MaskError, SearchError, SourceError
from seam.methods.catalogue import STUDENTS
from tasks.project.advice import ADVICE, advice, advising
from tasks.project.params import Params
from tasks.project.source_changes import SourceChanges
from tasks.project.stages import KINDS, all_stages
from tasks.project.students import StudentName
from tasks.project.subject import StageRun, Subject

LIBRARY = Path(seam.__file__).parent


def hints_in(path: Path) -> set[str]:
    """Of the errors and warnings that a file makes."""
    keywords = (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.keyword) and n.arg == "hint")
    return {k.value.value for k in keywords if isinstance(k.value, ast.Constant) and isinstance(k.value.value, str)}


def given() -> dict[str, set[str]]:
    """Module -> hints, of the library."""
    found = {}
    for path in LIBRARY.rglob("*.py"):
        parts = path.relative_to(LIBRARY.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = hints_in(path)
    return {module: hints for module, hints in found.items() if hints}


def runs_of(stage: str) -> list[StageRun]:
    """The stage as it is run: of each kind of subject that has it, of a student of every method."""
    kinds = [kind for kind in KINDS.values() if any(s.name == stage for s in kind.stages)]
    match all_stages()[stage].of:
        case "project":
            return [StageRun(stage)]
        case "subject":
            return [StageRun(stage, Subject(kind.name, "x")) for kind in kinds]
        case _:
            students = [StudentName(method.name, 0) for method in STUDENTS]
            return [StageRun(stage, Subject(kind.name, "x", student)) for kind in kinds for student in students]


def can_be_given() -> list[tuple[str, str]]:
    """(stage, hint) for every hint in a module that the stage imports, itself or by way of others."""
    graph = grimp.build_graph("seam", "tasks", exclude_type_checking_imports=True)
    stages = all_stages()
    return sorted(
        {
            (module.removeprefix("tasks."), hint)
            for low, hints in given().items()
            for module in graph.find_downstream_modules(low)
            if module.removeprefix("tasks.") in stages
            for hint in hints
        }
    )


def test_every_hint_is_given_somewhere_and_has_advice() -> None:
    in_tasks = {hint for path in Path("tasks").rglob("*.py") for hint in hints_in(path)}
    assert set().union(*given().values(), in_tasks) == set(get_args(Hint)) == set(ADVICE)


def test_the_trainings_are_found() -> None:
    assert {stage for stage, hint in can_be_given() if hint == "learning_rate"} == {
        "prepare_source",
        "search",
        "finetune",
        "evaluate",
        "fetch_source",
        "transfer",
        "restructure",
        "modularize",
        "patch",
    }


@pytest.mark.parametrize(("stage", "hint"), can_be_given())
def test_every_stage_says_what_to_change(stage: str, hint: Hint) -> None:
    for run in runs_of(stage):
        path = Path("artifacts/x") / run.stage / "a.json"
        said = advice(hint, run, path)
        assert said is not None
        assert all(there_is(name) for name in re.findall(r"[a-z_]+(?:\.[a-z_]+)+", said)), said


def there_is(name: str) -> bool:
    """Whether the parameters have such a name; `x` is a subject."""
    at: Any = Params
    for part in name.split("."):
        if part == "x":
            at = get_args(get_args(at)[1])[0]
            continue
        types = {n: f.annotation for n, f in at.model_fields.items()} if at is Params else get_type_hints(at)
        if part not in types:
            return False
        own = at is not Params and get_type_hints(at, include_extras=True)[part] == SourceChanges
        at = SourceConfig if own else types[part]
    return True


def test_a_parameter_that_is_not_there_is_noticed() -> None:
    assert there_is("search.lr_head")
    assert there_is("transfer.backdoor.training.lr")
    assert there_is("targets.x.image_size") and there_is("restructurings.x.training.lr_full")
    assert there_is("modularizations.x.source.lr") and not there_is("modularizations.x.source.rate")
    for wrong in ("search.rate", "transfer.lr", "nowhere.lr", "targets.x.size", "restructurings.x.lr"):
        assert not there_is(wrong)


PROBLEM, FLOWERS = Subject("problem", "boot"), Subject("target", "flowers")


@pytest.mark.parametrize(
    ("run", "hint", "said"),
    [
        (StageRun("prepare_source"), "learning_rate", "lower prepare_source.lr"),
        (StageRun("prepare_source"), "image_size", "set data.image_size"),
        (StageRun("fetch_source", FLOWERS), "image_size", "set targets.flowers.image_size"),
        (StageRun("validate_target", FLOWERS), "data_path", "set targets.flowers.path to where it is"),
        (StageRun("fetch_source", FLOWERS), "address", "correct transfer.checkpoint"),
        (StageRun("search", PROBLEM), "search_rate", "lower search.lr_head or search.lr_scores"),
        (
            StageRun("evaluate", PROBLEM),
            "learning_rate",
            "lower search.lr_head, search.lr_norms or prepare_source.lr",
        ),
        (
            StageRun("transfer", FLOWERS.of(StudentName("retrain", 0))),
            "learning_rate",
            "lower transfer.retrain.lr, transfer.retrain.lr_head or transfer.settings",
        ),
        (
            StageRun("fetch_source", FLOWERS),
            "learning_rate",
            "lower transfer.backdoor.training.lr or transfer.backdoor.training.lr_head",
        ),
        (
            StageRun("restructure", Subject("restructuring", "flat")),
            "learning_rate",
            "lower restructurings.flat.training.lr or restructurings.flat.training.lr_full",
        ),
        (StageRun("benchmark_latency", PROBLEM), "learning_rate", None),
        (None, "image_size", None),
    ],
)
def test_the_names_are_those_of_the_stage(run: StageRun | None, hint: Hint, said: str | None) -> None:
    assert advice(hint, run) == said


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        ("artifacts/prepare_source/source.json", "prepare_source"),
        ("artifacts/search/search/mask.safetensors", "search"),
        ("/home/finetune/artifacts/flowers/validate_target/dataset.safetensors", "validate_target"),
        ("artifacts/flowers/students/seam-50-seed0/student.safetensors", "transfer"),
    ],
)
def test_who_made_a_file_is_seen_from_its_folder(path: str, stage: str) -> None:
    with (
        pytest.raises(MaskError, match=rf"^{path}: damaged; run the stage {stage} again\.$"),
        advising(None),
    ):
        raise MaskError(f"{path}: damaged", hint="rerun_producer", path=Path(path))


def test_what_needs_no_advice_and_what_has_none_here_is_left_alone() -> None:
    for error, said in (
        (SearchError("nothing to mask."), "nothing to mask."),
        (SourceError("too small", hint="image_size"), "too small; choose another size to bring images to."),
        (DataError("a.bin: damaged", hint="rerun_producer", path=Path("a.bin")), "a.bin: damaged; make it anew."),
    ):
        with pytest.raises(type(error)) as caught, advising(None):
            raise error
        assert caught.value is error
        assert str(error) == said
