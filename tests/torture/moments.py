"""A run that is killed in every stage, and resumed, again and again: afterwards nothing tells that it was."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from random import Random

from tests.torture.job import Job, killed, until_kept

HOW = ("kill -9, alone", "kill -9, all", "SIGTERM")
BEFORE = "before the first"
"""In place of a stage: while a run finds out what there is to do."""


@dataclass(frozen=True)
class Moment:
    """One at which a run was ended."""

    number: int
    how: str
    stage: str
    after: float
    """Seconds since the stage before was kept, or since the run began."""
    wrong: str = ""


@dataclass(frozen=True)
class Undisturbed:
    """A run that nobody touches."""

    digests: dict[str, str]
    seconds: dict[str, float]
    """Of each stage; of `BEFORE` until the first one is kept."""


def undisturbed(job: Job) -> Undisturbed:
    """Of a fresh job; made once in a folder."""
    kept = job.folder / "undisturbed.json"
    if not kept.is_file():
        job.fresh()
        run, last, seconds = job.begin(), time.monotonic(), dict[str, float]()
        for stage in job.stages:
            until_kept(job, run, [stage])
            seconds[stage], last = time.monotonic() - last, time.monotonic()
        assert job.end(run) == 0, job.said()
        seconds[BEFORE] = seconds[job.stages[0]]
        kept.write_text(json.dumps({"digests": job.digests(), "seconds": seconds}))
        job.fresh()
    return Undisturbed(**json.loads(kept.read_text()))


class Chain:
    """Kill, resume, kill, resume until every stage was hit; then to the end, and a look at all that there is."""

    def __init__(self, job: Job, seed: int, times: int = 1) -> None:
        """A job, and how often each stage is hit before a run comes to its end."""
        self.job, self.seed, self.times = job, seed, times
        self.right = undisturbed(job)
        self._records = job.folder / "moments.jsonl"
        self.done = [Moment(**json.loads(line)) for line in self._lines()]
        self.ended = 0
        """Chains that came to their end."""
        self._hit = Counter(moment.stage for moment in self.done) if self.job.kept() else Counter[str]()

    def _lines(self) -> list[str]:
        return self._records.read_text().splitlines() if self._records.is_file() else []

    def suffer(self, moments: int) -> Iterator[Moment]:
        """So many moments, those of an earlier call in this folder included; the rest as they come."""
        while len(self.done) < moments:
            moment = self._next()
            if moment is None:
                self.end()
                self.job.fresh()
                continue
            self.done.append(moment)
            with self._records.open("a") as file:
                file.write(json.dumps(asdict(moment)) + "\n")
            yield moment

    def _next(self) -> Moment | None:
        """End a run in the first stage that was not hit yet; None: all were."""
        number = len(self.done)
        draw = Random(f"{self.seed}:{number}")
        how, share, left = draw.choice(HOW), draw.random(), self.job.left()
        wanted = next((stage for stage in [BEFORE, *left] if self._hit[stage] < self.times), None)
        if wanted is None:
            return None
        run = self.job.begin()
        before = [] if wanted == BEFORE else [s for s in self.job.stages if s not in left[left.index(wanted) :]]
        reached = until_kept(self.job, run, before)
        began, after = time.monotonic(), share * 1.1 * self.right.seconds[wanted]
        while reached and time.monotonic() - began < after and self.job.is_going_on(run):
            time.sleep(0.002)
        self._hit[wanted] += 1
        wrong = killed(self.job, run, how) if reached else f"ended by itself: {self.job.end(run)}: {self.job.said()}"
        wrong = "; ".join(filter(None, [wrong, *self.job.half_made()]))
        return Moment(number, how, wanted, round(time.monotonic() - began, 2), wrong)

    def end(self) -> None:
        """One run to the end, after which nothing may be wrong."""
        status = self.job.finish()
        wrong = [] if status == 0 else [f"the run afterwards: status {status}: {self.job.said()}"]
        wrong += self.job.faults(self.right.digests)
        self.ended += 1
        self._hit.clear()
        assert not wrong, f"chain {self.ended}, after {len(self.done)} moments: {wrong}"


def table(done: list[Moment], stages: list[str]) -> str:
    """How often each stage was hit in which way."""
    counts: Counter[tuple[str, str]] = Counter((moment.stage, moment.how) for moment in done)
    cell: Callable[[str, str], str] = lambda stage, how: f"{counts[stage, how]:>16}"  # noqa: E731
    rows = [f"{'':22}{''.join(f'{how:>16}' for how in HOW)}"]
    rows += [f"{stage:22}{''.join(cell(stage, how) for how in HOW)}" for stage in [BEFORE, *stages]]
    wrong = [moment for moment in done if moment.wrong]
    return "\n".join([*rows, f"{len(done)} moments, {len(wrong)} wrong", *(str(moment) for moment in wrong)])
