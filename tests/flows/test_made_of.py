"""A kind whose subjects are made of another kind's: these come first, and one that fails leaves what is made of it."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.preflight import check
from flows.stage_task import Failure
from flows.staleness import source_changed
from flows.subjects import run_stages, verdict
from seam.errors import ConfigError
from seam.files import sha256_file, write_json
from tasks.project.params import Params, parse_params
from tasks.project.stages import KINDS, MODULARIZED, Kind, Stage
from tasks.project.subject import StageRun, Subject, chosen, named_in, parts_of, runs_of, stage_folder


def kind(name: str, first: tuple[Stage, ...], then: tuple[Stage, ...], made_of: str | None) -> Kind:
    return Kind(
        name=name,
        section=f"{name}s",
        command=name,
        noun=name,
        definition=f"a {name}",
        none_yet="none",
        first=first,
        then=then,
        data="validate_data",
        source="prepare_source",
        source_section="prepare_source",
        search_section="search",
        registers=None,
        reports=then[-1].name,
        made_of=made_of,
    )


SHARED = (Stage("validate_data", "project"),)
BRICK = kind("brick", SHARED, (Stage("burn"),), None)
WALL = kind("wall", (*SHARED, Stage("dig")), (Stage("build"),), "brick")


@dataclass(frozen=True)
class Of:
    of: str | tuple[str, ...]


class ParamsWithWalls(Params):
    bricks: dict[str, int] = {}
    walls: dict[str, Of] = {}


@pytest.fixture
def params(monkeypatch: pytest.MonkeyPatch) -> ParamsWithWalls:
    monkeypatch.setitem(KINDS, "brick", BRICK)
    monkeypatch.setitem(KINDS, "wall", WALL)
    walls = {"low": Of("red"), "high": Of(("elsewhere/kiln", "grey", "red"))}
    return ParamsWithWalls(problems={"p": ("a",)}, bricks={"red": 1, "blue": 2, "grey": 3}, walls=walls)


def test_what_a_subject_is_made_of_comes_first_and_once(params: ParamsWithWalls) -> None:
    low, high = chosen(params, WALL)
    red, grey = Subject("brick", "red"), Subject("brick", "grey")
    assert named_in(params, high) == ("elsewhere/kiln", "grey", "red") and named_in(params, red) == ()
    assert parts_of(params, [low]) == (red,) and parts_of(params, [low, high]) == (red, grey)
    assert parts_of(params, [red]) == parts_of(params, []) == ()
    assert runs_of(params, WALL, [low, high]) == [
        StageRun("validate_data"),
        *(StageRun("burn", red), StageRun("burn", grey)),
        *(StageRun("dig", low), StageRun("dig", high)),
        *(StageRun("build", low), StageRun("build", high)),
    ]


def test_a_part_that_fails_leaves_what_is_made_of_it(
    params: ParamsWithWalls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []

    def run_one(root: Path, run: StageRun, anew: bool) -> Failure | None:
        done.append(run.label)
        return Failure(run.subject, "burn [grey]: too hot.") if run.label == "burn [grey]" else None

    monkeypatch.setattr("flows.subjects.run_one", run_one)
    walls = chosen(params, WALL)
    failures = run_stages(tmp_path, params, WALL, walls, {})
    assert done == ["validate_data", "burn [red]", "burn [grey]", "dig [low]", "build [low]"]
    assert verdict(params, WALL, failures, walls).message == "1 of 2 walls failed: burn [grey]: too hot"
    assert verdict(params, WALL, [], walls).message == "2 of 2 walls done: low, high."


def test_what_is_neither_in_the_parameters_nor_a_folder_is_one_line(params: ParamsWithWalls, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        check(tmp_path, params, WALL, chosen(params, WALL, ["high"]), cache=None)  # type: ignore[arg-type]
    assert str(caught.value) == (
        "walls.high.of: expected a brick (red, blue, grey) or a folder with modules that were made elsewhere, got"
        " 'elsewhere/kiln'; correct it, or add it under `bricks`."
    )


def test_a_result_is_stale_when_modules_made_elsewhere_are_exchanged(params: ParamsWithWalls, tmp_path: Path) -> None:
    run = StageRun("build", Subject("wall", "high"))
    pack = tmp_path / "kiln.json"
    pack.write_text("{}")
    assert not source_changed(tmp_path, run)
    metrics = stage_folder(tmp_path, run.stage, run.subject) / "metrics.json"
    metrics.parent.mkdir(parents=True)
    write_json(metrics, {"files": {"kiln.json": sha256_file(pack)}})
    assert not source_changed(tmp_path, run)
    pack.write_text("{ }")
    assert source_changed(tmp_path, run)


def test_no_subject_has_the_name_of_the_folder_that_dvc_compares() -> None:
    with pytest.raises(ConfigError, match=f"must not be called like a stage .* got '{MODULARIZED}'"):
        parse_params({"problems": {MODULARIZED: ["a"]}}, "test")
