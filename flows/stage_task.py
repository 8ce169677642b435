"""One stage as a Prefect task.

Run only when DVC does not have its outputs, recorded in DVC, shown, and failed in one line.
"""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows import display, run_page
from flows.stage_cache import StageCache, shared_cache
from flows.staleness import registers, without_running
from seam.errors import NoAnswerError, SeamError
from tasks.project.params import load_params
from tasks.project.stage import StageContext, StageResult, execute
from tasks.project.stages import KINDS
from tasks.project.subject import StageRun, Subject

logger = logging.getLogger(__name__)

RETRY_DELAYS = (2.0, 10.0, 30.0, 60.0)
"""Seconds before a registering stage is tried again whose server does not answer: only these depend on one."""


@dataclass(frozen=True)
class Failure:
    """A stage that failed: what the user reads."""

    subject: Subject | None
    """None for a stage of the project; one student where only that failed."""
    line: str


def run_one(root: Path, run: StageRun, anew: bool = False) -> Failure | None:
    """Run one stage as a task, unless DVC has its outputs already and not `anew`; what the user reads if it fails."""
    state = _as_task(run.stage)(run.label, run.stage, run.subject, str(root), anew, return_state=True)
    if state.is_completed():
        return None
    line = _line_of(run.label, state)
    logger.error("%s", line)
    display.current().failed(run.label, line.removeprefix(f"{run.label}: "))
    return Failure(run.subject, line)


def _worth_retrying(_task: Any, _run: Any, state: State[Any]) -> bool:
    """What can pass is tried again; not what the user has to mend, nor a bug."""
    return isinstance(state.result(raise_on_failure=False), NoAnswerError)


def _as_task(stage: str) -> Any:
    """The task of a stage, called as the stage on the run page."""
    if registers(stage):
        return run_stage.with_options(
            name=stage,
            retries=len(RETRY_DELAYS),
            retry_delay_seconds=list(RETRY_DELAYS),
            retry_condition_fn=_worth_retrying,
        )
    return run_stage.with_options(name=stage)


@task(cache_policy=NO_CACHE, task_run_name="{label}", persist_result=False)
def run_stage(label: str, stage: str, subject: Subject | None, folder: str, anew: bool = False) -> State[Any] | None:
    """One stage of the project, of one subject or of one student, unless DVC has its outputs already and not `anew`."""
    root = Path(folder)
    cache = shared_cache(root)
    how = None if anew else without_running(cache, root, StageRun(stage, subject))
    if how is None:
        _run_body(cache, root, label, StageContext(stage, load_params(root / "params.yaml"), root, subject))
    else:
        display.current().cached(label, how)
    if subject and stage in _LAST:
        run_page.show_links(root, subject)
    return Completed(name="Cached", message=how) if how else None


def show_idle(root: Path, subject: Subject, runs: Sequence[StageRun]) -> None:
    """One task in place of a subject's stages, all of which are up to date: a line a subject, where there are many."""
    for run in runs:
        display.current().cached(run.label, "up to date")
    show_up_to_date(str(subject), subject, len(runs), str(root), return_state=True)


@task(name="up to date", task_run_name="{label}", cache_policy=NO_CACHE, persist_result=False)
def show_up_to_date(label: str, subject: Subject, stages: int, folder: str) -> State[Any]:
    """Nothing to do for a subject."""
    run_page.show_links(Path(folder), subject)
    return Completed(name="Cached", message=f"{stages} stages up to date")


_LAST = tuple(kind.registers or kind.reports for kind in KINDS.values())
"""Stages after which a subject's page and model are there."""


def _run_body(cache: StageCache, root: Path, label: str, context: StageContext) -> StageResult:
    """Import the stage (heavy, so only now), run it, record it, show it."""
    shown = display.current()
    shown.started(label)
    start = time.perf_counter()
    page = run_page.ProgressOnPage(label)

    def progress(share: float, text: str) -> None:
        shown.progress(label, share, text)
        page(share, text)

    stage = context.stage
    body = getattr(importlib.import_module(f"tasks.{stage}"), stage)
    following = replace(context, progress=progress)
    result = cache.run(context.run.address, lambda: execute(body, following))
    page.close()
    shown.ran(label, time.perf_counter() - start, result.summary)
    logger.info("%s done: %s", label, display.summary_text(result.summary))
    run_page.show_result(label, result)
    return result


def _line_of(label: str, state: State[Any]) -> str:
    """Why a stage failed, in one line that names it."""
    error = state.result(raise_on_failure=False)
    if isinstance(error, SeamError):
        text = " ".join(str(error).split())
    elif isinstance(error, BaseException):
        text = f"unexpected {type(error).__name__}: {' '.join(str(error).split())}; the traceback is in the log"
    else:
        text = state.message or state.name or "failed"
    return text if text.startswith(label) else f"{label}: {text}"
