"""A small real job that is ended in every stage, and resumed; `make torture` has more moments, and bad weather."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.torture.job import Job
from tests.torture.moments import BEFORE, HOW, Chain, Moment, table

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
MOMENTS = 20


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    job = Job(tmp_path_factory.mktemp("torture"))
    with job.ready():
        yield job


def test_a_run_that_is_ended_in_every_stage_gives_what_an_undisturbed_one_gives(job: Job) -> None:
    chain = Chain(job, seed=0)
    found = list(chain.suffer(MOMENTS))
    shown = table(chain.done, job.stages)
    assert [moment.wrong for moment in found] == [""] * MOMENTS, shown
    assert {moment.stage for moment in found} >= {BEFORE, *job.stages}, shown
    assert chain.end() == [], shown


def test_what_shows_is_found(job: Job) -> None:
    right = Chain(job, seed=0).right
    assert job.finish() == 0 and job.faults(right.digests) == []
    artifacts = job.project / "artifacts"
    (artifacts / "search.partial").mkdir()
    metrics = next(artifacts.glob("*/evaluate/metrics.json"))
    whole = metrics.read_text()
    metrics.write_text(whole[:-20])
    found = job.faults(right.digests)
    assert any("metrics.json: not as undisturbed" in line for line in found)
    assert any("search.partial is left" in line for line in found)
    assert any(line.startswith(str(metrics.relative_to(job.project))) for line in job.half_made())
    metrics.write_text(whole)


def test_a_table_counts_every_moment() -> None:
    done = [
        Moment(0, HOW[0], "search", 0.5),
        Moment(1, HOW[0], "search", 0.1, "a fault"),
        Moment(2, HOW[2], BEFORE, 0.0),
    ]
    text = table(done, ["search"])
    assert "3 moments, 1 wrong" in text and "a fault" in text
    (line,) = (line for line in text.splitlines() if line.startswith("search"))
    assert line.split() == ["search", "2", "0", "0"]


def test_moments_of_an_earlier_call_are_known(job: Job) -> None:
    records = job.folder / "moments.jsonl"
    known = [json.loads(line) for line in records.read_text().splitlines()]
    assert len(known) >= MOMENTS and [m.number for m in Chain(job, seed=0).done] == [m["number"] for m in known]
    assert list(Chain(job, seed=0).suffer(len(known))) == []


def test_the_job_is_the_default_one(job: Job) -> None:
    stages = {path.stem for path in Path("tasks").glob("*.py")}
    assert set(job.stages) <= stages and {"search", "finetune", "register_model"} <= set(job.stages)
