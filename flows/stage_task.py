"""One stage as a Prefect task.

Run only when DVC does not have its outputs, recorded in DVC, shown, and failed in one line.
"""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows import display, run_page
from flows.registry_view import registered_model
from flows.stage_cache import StageCache, shared_cache
from seam.errors import SeamError
from seam.files import read_json, sha256_file
from tasks.project.environment import tracking_uri
from tasks.project.params import load_params
from tasks.project.source_changes import changed_source, own_sources
from tasks.project.stage import StageContext, StageResult, execute
from tasks.project.stages import KINDS
from tasks.project.subject import StageRun, Subject, dvc_key, entries, stage_folder

logger = logging.getLogger(__name__)

RETRY_DELAYS = (2.0, 10.0)
"""Seconds before a registering stage is tried again: only these depend on a server."""


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
    """A failure the user has to mend is not tried again."""
    return not isinstance(state.result(raise_on_failure=False), SeamError)


def _as_task(stage: str) -> Any:
    """The task of a stage, called as the stage on the run page."""
    if _registers(stage):
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


def without_running(cache: StageCache, root: Path, run: StageRun) -> str | None:
    """How the outputs come to be there without running the stage; None: it has to run."""
    if _registers(run.stage):  # what it does is outside its files: those alone would not move the alias
        return "up to date" if cache.is_current(run.stage, run.key) and _is_registered(root, run) else None
    if source_changed(root, run):
        return None
    if cache.is_current(run.stage, run.key):
        return "up to date"
    return "same inputs ran before, restored from the DVC cache" if cache.restore(run.stage, run.key) else None


_LAST = tuple(kind.registers or kind.reports for kind in KINDS.values())
"""Stages after which a subject's page and model are there."""


def _registers(stage: str) -> bool:
    return any(stage == kind.registers for kind in KINDS.values())


def source_changed(root: Path, run: StageRun) -> bool:
    """Whether a stage has to read its source again though its parameters are the same: DVC compares names alone.

    Or modules that were made elsewhere, or a source of its own.
    """
    section = next((kind.source_section for kind in KINDS.values() if kind.source == run.stage), None)
    reports = run.subject is not None and run.stage == run.subject.row.reports
    if section is None and not reports:
        return False
    folder = stage_folder(root, run.stage, run.subject)
    source, metrics = (
        read_json(path) if path.is_file() else {} for path in (folder / "source.json", folder / "metrics.json")
    )
    if _own_files_changed(root, source) or _own_files_changed(root, metrics):
        return True
    return bool(source) and any(_alias_moved(root, source, name) for name in _checkpoints(root, run, section))


def _checkpoints(root: Path, run: StageRun, section: str | None) -> list[str]:
    """What the source of a stage is loaded from: that of the section with it, or of the subject's own."""
    params = load_params(root / "params.yaml")
    if section is not None:
        return [getattr(params, section).checkpoint or ""]
    assert run.subject is not None, f"{run.stage} is a stage of a subject"
    kind, name = run.subject.row, run.subject.name
    return [
        changed_source(params.prepare_source, changes, f"{kind.section}.{name}.{key}").checkpoint or ""
        for key, changes in own_sources(entries(params, kind)[name])
    ]


def _own_files_changed(root: Path, source: Mapping[str, Any]) -> bool:
    """Whether a checkpoint or an architecture file has other content than when it was read."""
    files = source.get("files", {})
    return any(not (root / name).is_file() or sha256_file(root / name) != digest for name, digest in files.items())


def _alias_moved(root: Path, source: Mapping[str, Any], checkpoint: str) -> bool:
    """Whether the alias of the checkpoint (models:/NAME@ALIAS) is on another version than the one that was read."""
    name, is_alias, alias = checkpoint.removeprefix("models:/").partition("@")
    if not checkpoint.startswith("models:/") or not is_alias:
        return False
    model = registered_model(tracking_uri(root), name)
    return model is not None and f"models:/{name}/{model.aliases.get(alias)}" != source.get("fetched_from")


def _is_registered(root: Path, run: StageRun) -> bool:
    """Whether the version on the card is in the registry (a fresh clone has the card, and an empty registry).

    A card may have none.
    """
    card = read_json(stage_folder(root, run.stage, run.subject) / "card.json")
    if card.get("registered_model") is None:
        return True
    model = registered_model(tracking_uri(root), card["registered_model"])
    return model is None or int(card.get("version") or 0) in model.versions


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
    result = cache.run(stage, dvc_key(context.subject), lambda: execute(body, following))
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
