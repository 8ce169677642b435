"""A further kind of subject is one row: folders, keys, flags, order, lineage, failure rules and closing follow."""

import re
from pathlib import Path

import pytest
from rich.console import Console

from flows.closing import show_closing, show_next
from flows.stage_task import Failure
from flows.staleness import source_changed, without_running
from flows.subjects import run_stages, verdict
from seam.errors import ConfigError
from seam.files import write_json
from tasks.project.advice import advice
from tasks.project.params import ClassNames, Params
from tasks.project.stage import StageContext
from tasks.project.stages import KINDS, Kind, Stage, all_stages
from tasks.project.subject import (
    Address,
    StageRun,
    Subject,
    address_of,
    check,
    chosen,
    flags,
    label_of,
    runs_of,
    stage_folder,
)
from tasks.tracking.runs import lineage

ROOT = Path(__file__).parents[2]
MEDLEY = Kind(
    name="medley",
    section="medleys",
    command="play",
    noun="medley",
    definition="a medley",
    none_yet="params.yaml has no medley",
    first=(Stage("validate_data", "project"), Stage("gather_songs")),
    then=(Stage("play"), Stage("register_medley")),
    data="gather_songs",
    source="gather_songs",
    source_section="prepare_source",
    search_section="search",
    registers="register_medley",
    reports="play",
    next_commands=(("seam serve --medley {name}", "answer requests"),),
    deed="medley",
    defined_as="parts",
)


class ParamsWithMedleys(Params):
    medleys: dict[str, ClassNames] = {}


@pytest.fixture
def params() -> ParamsWithMedleys:
    """Parameters with a further section, as a further kind has."""
    return ParamsWithMedleys(problems={"p": ("a",)}, targets={}, medleys={"pair": ("a", "b"), "trio": ("c",)}, seed=7)


@pytest.fixture
def medley(monkeypatch: pytest.MonkeyPatch) -> Kind:
    """The only thing that is added: a row of the table."""
    monkeypatch.setitem(KINDS, "medley", MEDLEY)
    return MEDLEY


def test_one_row_gives_a_kind_its_folders_labels_keys_flags_and_order(medley: Kind, params: ParamsWithMedleys) -> None:
    pair, trio = chosen(params, medley)
    assert chosen(params, medley, ["trio"]) == (trio,) == (Subject("medley", "trio"),)
    assert stage_folder(Path(), "play", pair) == Path("artifacts/pair/play")
    assert (label_of("play", pair), str(address_of("play", pair)), flags(pair)) == (
        "play [pair]",
        "medleys/pair/dvc.yaml:play",
        ["--medley", "pair"],
    )
    assert pair.registered_name(params) == "seam-medley-pair"
    assert pair.command == "seam play --medley pair"
    assert runs_of(params, medley, [pair, trio]) == [
        StageRun("validate_data"),
        StageRun("gather_songs", pair),
        StageRun("gather_songs", trio),
        *(StageRun(stage, subject) for subject in (pair, trio) for stage in ("play", "register_medley")),
    ]
    with pytest.raises(ConfigError, match="unknown medley 'duo', expected one of: pair, trio; add it under `medl"):
        check(params, Subject("medley", "duo"))


def test_one_row_gives_a_kind_its_advice(medley: Kind) -> None:
    run = StageRun("play", Subject("medley", "pair"))
    assert advice("search_rate", run) == "lower search.lr_head or search.lr_scores"
    assert advice("architecture", run) == "set prepare_source.architecture"


def test_one_row_gives_a_kind_its_lineage(medley: Kind, params: ParamsWithMedleys, tmp_path: Path) -> None:
    context = StageContext("play", params, tmp_path, Subject("medley", "pair"))
    for name in ("dataset.safetensors", "source.safetensors"):
        context.artifact("gather_songs", name).parent.mkdir(parents=True, exist_ok=True)
        context.artifact("gather_songs", name).write_text(name)
    digest, shaping = lineage(context)
    assert shaping == {"seed": "7", "medley": "pair", "parts": '["a", "b"]'}
    context.artifact("gather_songs", "source.safetensors").write_text("another")
    assert lineage(context)[0] != digest


class _Cache:
    """Says of every stage that DVC has it."""

    def is_current(self, stage: Address) -> bool:
        return True


def test_one_row_gives_a_kind_its_registration_checks_failure_rules_and_verdict(
    medley: Kind, params: ParamsWithMedleys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subjects = chosen(params, medley)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    run = StageRun("register_medley", subjects[0])
    write_json(stage_folder(tmp_path, run.stage, run.subject) / "card.json", {"registered_model": "m", "version": 1})
    assert without_running(_Cache(), tmp_path, run) is None  # its version is not in the registry
    assert not source_changed(tmp_path, StageRun("gather_songs", subjects[0]))  # nothing was read yet
    done = []

    def run_one(root: Path, run: StageRun, anew: bool) -> object:
        done.append(run.label)
        return Failure(run.subject, "it broke.") if run.label == "play [pair]" else None

    monkeypatch.setattr("flows.subjects.run_one", run_one)
    failures = run_stages(tmp_path, params, medley, subjects, {})
    assert done == [
        "validate_data",
        *("gather_songs [pair]", "gather_songs [trio]"),
        *("play [pair]", "play [trio]", "register_medley [trio]"),
    ]
    assert verdict(params, medley, failures, subjects).message == "1 of 2 medleys failed: it broke"
    assert verdict(params, medley, [], subjects).message == "2 of 2 medleys done: pair, trio."


def test_one_row_gives_a_kind_its_closing(
    medley: Kind, params: ParamsWithMedleys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///a.db")
    subjects = chosen(params, medley)
    report = stage_folder(tmp_path, "play", subjects[0]) / "report.html"
    report.parent.mkdir(parents=True)
    report.write_text("")
    card = {"registered_model": "seam-medley-pair", "version": 3, "aliases": ["champion"], "run_id": "r"}
    write_json(stage_folder(tmp_path, "register_medley", subjects[0]) / "card.json", {**card, "gates": []})
    console = Console(record=True, width=160)
    show_closing(tmp_path, params, medley, subjects, console, finished=True)
    show_next({medley: subjects}, console)
    lines = [line.strip() for line in console.export_text().splitlines() if line]
    assert lines == [
        "model    models:/seam-medley-pair/3 @champion",
        "run      r in sqlite:///a.db",
        "report   artifacts/pair/play/report.html",
        "Next:",
        f"{'seam serve --medley pair':<39}  answer requests",
    ]


def test_no_code_outside_the_table_asks_which_kind_it_is() -> None:
    """A comparison with a kind, its name, or a list of its stages would be a second place to edit."""
    names = "|".join([*KINDS, *(kind.name.upper() for kind in KINDS.values()), *all_stages()])
    asks = re.compile(
        rf"\b(?:TARGET|PROBLEM|SHARED|TRANSFER)_STAGES\b|\bof_target\b|\bif .*\bfamily\b"
        rf"|(?<!for )\b(?:kind(?:\.name)?|stage) (?:==|!=|is|is not|in|not in) \(?[\"']?(?:{names})\b"
    )
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for folder in ("flows", "tasks")
        for path in (ROOT / folder).rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if asks.search(line)
    ]
    assert not found
    assert asks.search('of = "x" if subject.kind == "target" else "y"') and asks.search("if kind is PROBLEM:")
    assert asks.search('if stage == "transfer":')
