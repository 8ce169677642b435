"""A small real job that is ended in its stages, and resumed; `make torture` has more moments, and bad weather."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.defaults import ROOT
from tests.torture.job import Job
from tests.torture.moments import BEFORE, HOW, Chain, Moment, table

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
TIMES = 2
"""That each stage is aimed at."""


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """One that came to its end."""
    job = Job(tmp_path_factory.mktemp("torture"))
    with job.ready():
        chain = Chain(job, seed=0, times=TIMES)
        list(chain.suffer(TIMES * (len(job.stages) + 1)))
        chain.end()
        yield chain


def test_a_run_that_is_ended_in_its_stages_gives_what_an_undisturbed_one_gives(chain: Chain) -> None:
    shown = table(chain.done, chain.job.stages)
    assert not [moment for moment in chain.done if moment.wrong], shown
    hit = Counter(moment.stage for moment in chain.done)
    stages = {BEFORE, *chain.job.stages}
    assert hit.total() == TIMES * len(stages) and hit.keys() <= stages, (
        shown
    )  # beside other work a blow falls elsewhere


def test_what_shows_is_found(chain: Chain) -> None:
    job, right = chain.job, chain.right
    assert job.faults(right.digests) == []
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


def test_moments_of_an_earlier_call_are_known(chain: Chain) -> None:
    again = Chain(chain.job, seed=0)
    assert again.done == chain.done and list(again.suffer(len(again.done))) == []


def test_the_job_is_the_default_one(chain: Chain) -> None:
    job = chain.job
    stages = {path.stem for path in (ROOT / "tasks").glob("*.py")}
    assert set(job.stages) <= stages and {"search", "finetune", "register_model"} <= set(job.stages)
