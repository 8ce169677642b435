"""What every flow does: the stages of its subjects in order, what a failure leaves out, and the verdict."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from prefect.client.schemas.objects import State
from prefect.context import TagsContext
from prefect.states import Completed, Failed

from flows import preflight, run_page, undo
from flows.stage_cache import shared_cache
from flows.stage_task import Failure, run_one, show_idle
from flows.staleness import up_to_date
from seam.errors import SeamError
from tasks.project import stopping
from tasks.project.params import Params
from tasks.project.stages import Kind, all_stages
from tasks.project.subject import StageRun, Subject, parts_of, runs_of, stage_folder
from tasks.project.timed import taken_anew

logger = logging.getLogger(__name__)

FOLDED_FROM = 10
"""From so many subjects on, one that has nothing to do is one task on the run page, not one a stage."""
Before = Callable[[Path, Sequence[Subject]], None]
"""Called with the project and the subjects that are still in, once, before the first run of a stage."""


def run_subjects(
    kind: Kind,
    overrides: Sequence[str] | None,
    params_file: str | None,
    names: Sequence[str] | None,
    before: Mapping[str, Before] | None = None,
    here: bool = False,
) -> State[Any]:
    """Run what is stale, in the project around the working directory; how that ended, as the state of the flow.

    Args:
        kind: of the subjects.
        overrides: changes to params.yaml.
        params_file: a file whose values replace those in params.yaml.
        names: of the subjects; every one if empty, or if `all` is among them.
        before: what is done before the first run of a stage, by the stage's name.
        here: take times anew, on this machine, that were taken on another.
    """
    run_page.claim_run()
    with run_page.logs_on_page():
        try:
            root, change, subjects = preflight.prepare(kind, overrides, params_file, names, here)
        except SeamError as e:
            logger.debug("preflight failed", exc_info=True)
            return Failed(message=str(e))
        params = change.params
        # a task with the run's tags asks the server for their concurrency limits: seconds a stage
        with TagsContext(current_tags=set()), saved(root), stoppable(root, params):
            ended = verdict(params, kind, run_stages(root, params, kind, subjects, before or {}, here), subjects)
        if ended.is_failed() and change.lines:
            logger.info("%s", undo.after_failure(root, change, subjects))
        return ended


@contextmanager
def stoppable(root: Path, params: Params) -> Iterator[None]:
    """Told to stop in the block: the runs that this process has begun in MLflow end KILLED.

    Under a worker the process then ends within seconds; that of a person at a terminal does anyway.
    """

    def close_runs() -> None:
        tracking = sys.modules.get("tasks.tracking.runs")  # not imported: it has begun none
        if tracking is not None:
            with suppress(Exception):  # a store that does not answer; the next run ends them
                tracking.kill_own_runs(root, params.register_model.experiment)

    ends = stopping.ends_within(stopping.DEPLOYED_SECONDS, close_runs, reported=True)
    with ends if by_worker() else nullcontext():
        try:
            yield
        except BaseException as e:
            if not isinstance(e, Exception):
                close_runs()
            raise


def by_worker() -> bool:
    """Whether a worker of Prefect started this process for a run."""
    return "PREFECT__FLOW_RUN_ID" in os.environ


@contextmanager
def saved(root: Path) -> Iterator[None]:
    """Keep what was found current in the block for the next process."""
    try:
        yield
    finally:
        shared_cache(root).save()


def run_stages(
    root: Path,
    params: Params,
    kind: Kind,
    subjects: Sequence[Subject],
    before: Mapping[str, Before],
    here: bool = False,
) -> list[Failure]:
    """Run the stages in order; a subject of which a stage fails is left, the others go on.

    A stage of the project that fails ends all. What a subject is made of and fails leaves the
    subject. A student that fails leaves the other students: what follows is without it, and nothing
    is registered.
    """
    failures: list[Failure] = []
    waiting, idle = dict(before), set[Subject]()
    for run in runs_of(params, kind, subjects):
        left = {f.subject for f in failures if f.subject is None or f.subject.student is None}
        left |= {subject for subject in subjects if left.intersection(parts_of(params, [subject]))}
        if None in left or left.issuperset(subjects):
            break
        if (run.subject and run.subject.whole in left) or _lacks_students(root, params, kind, run, failures):
            continue
        many = len(subjects) >= FOLDED_FROM and run.stage == kind.then[0].name
        if run.subject and many and _show_idle(root, params, run, here):
            idle.add(run.subject)
        if run.subject and run.subject.whole in idle:
            continue
        if run.stage in waiting:
            waiting.pop(run.stage)(root, [s for s in subjects if s not in left])
        failure = run_one(root, run, anew=taken_anew(root, run, here))
        if failure is not None:
            failures.append(failure)
            _leave_out(root, run)
    return failures


def _leave_out(root: Path, run: StageRun) -> None:
    """A student that failed is not compared with the others: the one of before was trained otherwise.

    What any other stage published last stays, until it succeeds.
    """
    if run.subject is not None and run.subject.student is not None:
        shutil.rmtree(stage_folder(root, run.stage, run.subject), ignore_errors=True)


def _show_idle(root: Path, params: Params, first: StageRun, here: bool) -> bool:
    """Whether all stages of a subject from its `first` on are up to date; then they are shown, in one line."""
    assert first.subject is not None, f"{first.stage} is a stage of a subject"
    runs = runs_of(params, first.subject.row, [first.subject])
    runs = runs[runs.index(first) :]
    cache = shared_cache(root)
    with cache.at_once():
        idle = all(up_to_date(cache, root, r) and not taken_anew(root, r, here) for r in runs)
    if idle:
        show_idle(root, first.subject, runs)
    return idle


def _lacks_students(root: Path, params: Params, kind: Kind, run: StageRun, failures: Sequence[Failure]) -> bool:
    """Whether students failed without which a stage of their subject makes no sense.

    A model is registered only where all are there; the other stages go on with those that are.
    """
    subject = run.subject
    if subject is None or subject not in {f.subject.whole for f in failures if f.subject}:
        return False
    return run.stage == kind.registers or not any(
        (stage_folder(root, other.stage, other.subject) / "metrics.json").is_file()
        for other in runs_of(params, kind, [subject])
        if all_stages()[other.stage].of == "student"
    )


def verdict(params: Params, kind: Kind, failures: Sequence[Failure], subjects: Sequence[Subject]) -> State[Any]:
    """The end of the flow: one readable line."""
    total = f"{len(subjects)} {kind.nouns}"
    if not failures:
        return Completed(message=f"{len(subjects)} of {total} done: {', '.join(s.name for s in subjects)}.")
    lines = "; ".join(f.line.rstrip(".;") for f in failures)
    found = {f.subject.whole for f in failures if f.subject is not None}
    failed = [s for s in subjects if s in found or found.intersection(parts_of(params, [s]))]
    if any(f.subject is None for f in failures):
        return Failed(message=lines)
    ended = "failed or are incomplete" if kind.has_students else "failed"
    return Failed(message=f"{len(failed)} of {total} {ended}: {lines}")
