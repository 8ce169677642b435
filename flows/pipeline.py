"""The Prefect flow `seam-run`: every stage of every target problem, in order, skipping what is current."""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows import display
from flows.form import Overrides, ParamsFile, Problems
from flows.stage_cache import shared_cache
from flows.staleness import without_running
from flows.subjects import run_subjects
from seam.errors import SeamError
from tasks.project import timed
from tasks.project.params import load_params
from tasks.project.stage import StageContext
from tasks.project.stages import PROBLEM
from tasks.project.subject import StageRun, Subject

logger = logging.getLogger(__name__)


@flow(name="seam-run", description=__doc__, log_prints=False)
def run_pipeline(
    overrides: Overrides | None = None,
    params_file: ParamsFile | None = None,
    problems: Problems | None = None,
    here: bool = False,
) -> State[Any]:
    """Run what is stale, in the project around the working directory.

    Args:
        overrides: changes to params.yaml, as "search.alpha=0.5".
        params_file: a file whose values replace those in params.yaml.
        problems: names of the target problems; every one if empty, or if `all` is among them.
        here: take times anew, on this machine, that were taken on another.
    """
    return run_subjects(PROBLEM, overrides, params_file, problems, before=BEFORE, here=here)


def search_together(root: Path, problems: Sequence[Subject]) -> None:
    """Carry the searches that have to run along together, where `runtime.searches_together` says so.

    Their stages then finish them.
    """
    runtime = load_params(root / "params.yaml").runtime
    gpu = runtime.device != "cpu" and timed.here()["gpu"]
    if runtime.searches_together == 1 or (runtime.searches_together == 0 and not gpu):
        return
    waiting = [p for p in problems if without_running(shared_cache(root), root, StageRun("search", p)) is None]
    if len(waiting) > 1:
        run_searches_together(waiting, str(root), return_state=True)


@task(name="search together", task_run_name="search together", cache_policy=NO_CACHE, persist_result=False)
def run_searches_together(problems: list[Subject], folder: str) -> State[Any] | None:
    """The rounds of several problems' searches.

    Where that fails, the stages do them one by one and say what is wrong.
    """
    label, root = "search together", Path(folder)
    shown, params = display.current(), load_params(root / "params.yaml")
    shown.started(label)
    start, rounds = time.perf_counter(), 0

    def on_round(name: str, found: Any) -> None:
        nonlocal rounds
        rounds += 1
        text = f"{name}: round {found.round + 1}, density {found.density:.3f}, val accuracy {found.val_accuracy:.3f}"
        shown.progress(label, rounds / (len(problems) * params.search.rounds), text)

    body = importlib.import_module("tasks.inputs.search_together").search_together
    try:
        groups = body([StageContext("search", params, root, p) for p in problems], on_round)
    except SeamError as e:
        logger.warning("searches go on one by one: %s", e)
        shown.info(f"searches go on one by one: {e}")
        return Completed(name="Left", message=str(e))
    shown.ran(
        label, time.perf_counter() - start, {"groups": len(groups), "problems": sum(map(len, groups)), "rounds": rounds}
    )
    return None


BEFORE = {"search": search_together}
"""What a flow does once before the first run of a stage, by the stage's name."""
