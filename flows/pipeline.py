"""The Prefect flow `seam-run`: every stage of every target problem, in order, skipping what is current."""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import TagsContext
from prefect.states import Completed, Failed

from flows import display, preflight, run_page
from flows.project import project_root
from flows.registry_view import registered_model
from flows.stage_cache import StageCache, shared_cache
from seam.errors import SeamError
from seam.files import read_json, sha256_file
from tasks.environment import tracking_uri
from tasks.params import load_params
from tasks.stage import StageContext, StageResult, execute, stage_folder

logger = logging.getLogger(__name__)

RETRY_DELAYS = (2.0, 10.0)
"""Seconds before register_model is tried again: the only stage that depends on a server."""


@dataclass(frozen=True)
class Failure:
    """A stage that failed: what the user reads."""

    problem: str | None
    line: str


@flow(name="seam-run", description=__doc__, log_prints=False)
def run_pipeline(overrides: list[str] | None = None, params_file: str | None = None, problems: list[str] | None = None) -> State[Any]:
    """Run what is stale, in the project around the working directory.

    Args:
        overrides: changes to params.yaml, as "search.alpha=0.5".
        params_file: a file whose values replace those in params.yaml.
        problems: names of the target problems; every one if empty, or if `all` is among them.
    """
    with run_page.logs_on_page():
        try:
            root = project_root()
            params, changes = preflight.settle_params(root, overrides or (), params_file)
            chosen = preflight.chosen_problems(params, problems or ())
            for change in changes:
                logger.info("params.yaml: %s", change)
            preflight.check(root, params, chosen, shared_cache(root))
        except SeamError as e:
            logger.debug("preflight failed", exc_info=True)
            return Failed(message=str(e))
        with TagsContext(current_tags=set()):  # a task with the run's tags asks the server for their concurrency limits: seconds a stage
            return verdict(run_stages(root, chosen), chosen)


def run_stages(root: Path, problems: Sequence[str]) -> list[Failure]:
    """Run the stages in order; a problem that fails is left, the others go on; a shared stage that fails ends all."""
    failures: list[Failure] = []
    together = False
    for stage, problem in preflight.stages_of(problems):
        failed = {f.problem for f in failures}
        if None in failed or failed.issuperset(problems):
            break
        if problem in failed:
            continue
        if stage == "search" and not together:
            together = True
            search_together(root, [p for p in problems if p not in failed])
        label = f"{stage} [{problem}]" if problem else stage
        state = _as_task(stage)(label, stage, problem, str(root), return_state=True)
        if not state.is_completed():
            line = _line_of(label, state)
            logger.error("%s", line)
            display.current().failed(label, line.removeprefix(f"{label}: "))
            failures.append(Failure(problem, line))
    return failures


def search_together(root: Path, problems: Sequence[str]) -> None:
    """Carry the searches that have to run along together, where `runtime.searches_together` says so; their stages then finish them."""
    runtime = load_params(root / "params.yaml").runtime
    gpu = runtime.device != "cpu" and read_json(stage_folder(root, "describe_machine", None) / "machine.json").get("gpu")
    if runtime.searches_together == 1 or (runtime.searches_together == 0 and not gpu):
        return
    waiting = [p for p in problems if _without_running(shared_cache(root), root, "search", p) is None]
    if len(waiting) > 1:
        run_searches_together(waiting, str(root), return_state=True)


def verdict(failures: Sequence[Failure], problems: Sequence[str]) -> State[Any]:
    """The end of the flow: one readable line."""
    if not failures:
        return Completed(message=f"{len(problems)} of {len(problems)} target problems done: {', '.join(problems)}.")
    lines = "; ".join(f.line.rstrip(".;") for f in failures)
    if any(f.problem is None for f in failures):
        return Failed(message=lines)
    return Failed(message=f"{len(failures)} of {len(problems)} target problems failed: {lines}")


def _worth_retrying(_task: Any, _run: Any, state: State[Any]) -> bool:
    """A failure the user has to mend is not tried again."""
    return not isinstance(state.result(raise_on_failure=False), SeamError)


def _as_task(stage: str) -> Any:
    """The task of a stage, called as the stage on the run page."""
    if stage == "register_model":
        return run_stage.with_options(name=stage, retries=len(RETRY_DELAYS), retry_delay_seconds=list(RETRY_DELAYS), retry_condition_fn=_worth_retrying)
    return run_stage.with_options(name=stage)


@task(cache_policy=NO_CACHE, task_run_name="{label}", persist_result=False)
def run_stage(label: str, stage: str, problem: str | None, folder: str) -> State[Any] | None:
    """One stage of one problem, unless DVC has its outputs already."""
    root = Path(folder)
    cache = shared_cache(root)
    how = _without_running(cache, root, stage, problem)
    if how is None:
        _run_body(cache, root, label, stage, problem)
    else:
        display.current().cached(label, how)
    if problem and stage == "register_model":
        run_page.show_links(root, problem)
    return Completed(name="Cached", message=how) if how else None


@task(name="search together", task_run_name="search together", cache_policy=NO_CACHE, persist_result=False)
def run_searches_together(problems: list[str], folder: str) -> State[Any] | None:
    """The rounds of several problems' searches; where that fails, the stages do them one by one and say what is wrong."""
    label, root = "search together", Path(folder)
    shown, params = display.current(), load_params(root / "params.yaml")
    shown.started(label)
    start, rounds = time.perf_counter(), 0

    def on_round(name: str, found: Any) -> None:
        nonlocal rounds
        rounds += 1
        text = f"{name}: round {found.round + 1}, density {found.density:.3f}, val accuracy {found.val_accuracy:.3f}"
        shown.progress(label, rounds / (len(problems) * params.search.max_rounds), text)

    body = importlib.import_module("tasks.search_together").search_together
    try:
        groups = body([StageContext("search", params, root, p) for p in problems], on_round)
    except SeamError as e:
        logger.warning("searches go on one by one: %s", e)
        shown.info(f"searches go on one by one: {e}")
        return Completed(name="Left", message=str(e))
    shown.ran(label, time.perf_counter() - start, {"groups": len(groups), "problems": sum(map(len, groups)), "rounds": rounds})
    return None


def _without_running(cache: StageCache, root: Path, stage: str, problem: str | None) -> str | None:
    """How the outputs come to be there without running the stage; None: it has to run."""
    if stage == "register_model":  # what it does is outside its files: those alone, out of a cache, would not move the alias
        return "up to date" if cache.is_current(stage, problem) and _is_registered(root, str(problem)) else None
    if stage == "prepare_source" and (_own_files_changed(root) or _alias_moved(root)):
        return None
    if cache.is_current(stage, problem):
        return "up to date"
    return "same inputs ran before, restored from the DVC cache" if cache.restore(stage, problem) else None


def _own_files_changed(root: Path) -> bool:
    """Whether a checkpoint or an architecture file, whose names alone DVC compares, has other content than when it was read."""
    recorded = stage_folder(root, "prepare_source", None) / "source.json"
    if not recorded.is_file():
        return False
    files = read_json(recorded).get("files", {})
    return any(not (root / name).is_file() or sha256_file(root / name) != digest for name, digest in files.items())


def _alias_moved(root: Path) -> bool:
    """Whether the alias that names the checkpoint (models:/NAME@ALIAS) is on another version than the one that was read."""
    checkpoint = load_params(root / "params.yaml").prepare_source.checkpoint or ""
    name, is_alias, alias = checkpoint.removeprefix("models:/").partition("@")
    recorded = stage_folder(root, "prepare_source", None) / "source.json"
    if not checkpoint.startswith("models:/") or not is_alias or not recorded.is_file():
        return False
    model = registered_model(tracking_uri(root), name)
    return model is not None and f"models:/{name}/{model.aliases.get(alias)}" != read_json(recorded).get("fetched_from")


def _is_registered(root: Path, problem: str) -> bool:
    """Whether the version on the model card is in the registry (a fresh clone has the card, and an empty registry)."""
    card = read_json(stage_folder(root, "register_model", problem) / "card.json")
    model = registered_model(tracking_uri(root), str(card.get("registered_model")))
    return model is None or int(card.get("version") or 0) in model.versions


def _run_body(cache: StageCache, root: Path, label: str, stage: str, problem: str | None) -> StageResult:
    """Import the stage (heavy, so only now), run it, record it, show it."""
    shown = display.current()
    shown.started(label)
    start = time.perf_counter()
    page = run_page.ProgressOnPage(label)

    def progress(share: float, text: str) -> None:
        shown.progress(label, share, text)
        page(share, text)

    body = getattr(importlib.import_module(f"tasks.{stage}"), stage)
    context = StageContext(stage, load_params(root / "params.yaml"), root, problem, progress)
    result = cache.run(stage, problem, lambda: execute(body, context))
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
