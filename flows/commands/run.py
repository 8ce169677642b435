"""`seam run` and its like: flows started by hand, with a clean terminal and the closing summary."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from flows import display, preflight, undo
from flows.closing import show_closing, show_next
from flows.stage_cache import shared_cache
from flows.temporary_server import ServerError, configured_url, prefect_server
from seam.errors import SeamError
from tasks.project.params import Params
from tasks.project.stages import KINDS, Kind
from tasks.project.subject import StageRun, chosen, entries, runs_of

os.environ.setdefault("TQDM_DISABLE", "1")  # one bar on the terminal: ours
os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")  # its records go to our log file
os.environ.setdefault("PREFECT_LOGGING_INTERNAL_LEVEL", "CRITICAL")  # it says so on the terminal, and goes on, where
logging.raiseExceptions = False  # its server is away


def run_by_hand(
    root: Path,
    kind: Kind | None,
    flow: str,
    overrides: Sequence[str],
    params_file: Path | None,
    names: Sequence[str],
    console: Console,
    options: Mapping[str, Any] | None = None,
) -> int:
    """Run a flow and show the result; where a student failed, that of the others.

    Args:
        root: the project.
        kind: of the subjects to work on; None: every kind that there are any of.
        flow: module:function.
        overrides: changes to params.yaml.
        params_file: a file whose values replace those in it.
        names: of the subjects; every one if empty.
        console: where to show it.
        options: further arguments of the flow: {"here": True}.

    Returns:
        The exit status: 0.

    Raises:
        SeamError: before the first stage: parameters, data, disk or servers; or a subject failed.
    """
    change = preflight.asked(root, overrides, str(params_file) if params_file else None)
    params, further = change.params, dict(options or {})
    work = {one: chosen(params, one, names) for one in _kinds(params, kind)}
    if change.lines:
        for one, subjects in work.items():
            preflight.check_asked(root, params, one, subjects, shared_cache(root))
    runs = list(dict.fromkeys(run for one, subjects in work.items() for run in runs_of(params, one, subjects)))
    named = {kind.section: [s.name for s in work[kind]]} if kind else {}
    module, _, function = flow.partition(":")

    def stale() -> list[str]:
        cache = shared_cache(root)
        found = (preflight.check(root, params, one, subjects, cache, **further) for one, subjects in work.items())
        return [run.stage for of_kind in found for run in of_kind]

    def run() -> Any:
        return getattr(importlib.import_module(module), function)(**named, **further, return_state=True)

    with (
        display.shown_on(display.TerminalDisplay(console)),
        undo.tried(root, change, [s for of_kind in work.values() for s in of_kind], display.current().info),
    ):
        preflight.settle_layout(root, params)
        state = _follow(root, runs, stale, run)
        finished = state is None or state.is_completed()
        for one, of_kind in work.items():
            if finished or one.has_students:
                show_closing(root, params, one, of_kind, console, finished=finished)
        if not finished:
            raise SeamError(state.message or f"the run ended {state.name}")
        show_next(work, console)
    return 0


def _kinds(params: Params, kind: Kind | None) -> Sequence[Kind]:
    return [kind] if kind else [one for one in KINDS.values() if entries(params, one)]


def _follow(root: Path, runs: Sequence[StageRun], stale: Callable[[], list[str]], run: Callable[[], Any]) -> Any:
    """The end state of a flow, tagged with this process; None where there was nothing to run.

    Checks and imports go on while the server starts. A temporary server, which nobody watches, is not
    started for nothing.
    """
    cache = shared_cache(root)
    with cache.at_once():
        idle = configured_url() is None and all(cache.is_known(r.address) for r in runs)
    server = None if idle else prefect_server(root)
    first = list(dict.fromkeys(stale()))[:2]
    if idle and not first:
        for one in runs:
            display.current().cached(one.label, "up to date")
        return None
    server = server or prefect_server(root)
    importlib.import_module("flows.subjects")
    for stage in first:
        importlib.import_module(f"tasks.{stage}")
    server.wait()
    import httpx
    import prefect

    from flows.run_page import BY_HAND, end_killed_runs, process_tags

    try:
        end_killed_runs()
        with prefect.tags(BY_HAND, *process_tags()):
            return run()
    except httpx.TransportError as e:
        raise ServerError(
            f"Prefect server at {server.url} does not answer any more; finished stages are kept, start it and run again"
            " to continue."
        ) from e
