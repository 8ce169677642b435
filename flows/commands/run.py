"""`seam run` and `seam transfer`: flows started by hand, with a clean terminal and the closing summary."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from flows import display, preflight
from flows.closing import show_closing
from flows.stage_cache import shared_cache
from flows.temporary_server import prefect_server
from flows.transfer_closing import show_transfers
from seam.errors import SeamError

os.environ.setdefault("TQDM_DISABLE", "1")  # one bar on the terminal: ours
os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")  # its records go to our log file


def run_by_hand(
    root: Path, overrides: Sequence[str], params_file: Path | None, names: Sequence[str], console: Console
) -> int:
    """Run the flow and show the result.

    Returns:
        The exit status: 0, or 1 if a problem failed.

    Raises:
        SeamError: before the first stage: parameters, data, disk or servers.
    """
    params, changes = preflight.settle_params(root, overrides, str(params_file) if params_file else None)
    problems = preflight.chosen_problems(params, names)

    def stale() -> list[str]:
        return [stage for stage, _ in preflight.check(root, params, problems, shared_cache(root))]

    def flow() -> Any:
        return importlib.import_module("flows.pipeline").run_pipeline(problems=list(problems), return_state=True)

    _raise_if_failed(_follow(root, changes, stale, flow, console))
    show_closing(root, params, problems, console)
    return 0


def transfer_by_hand(
    root: Path, overrides: Sequence[str], params_file: Path | None, names: Sequence[str], console: Console
) -> int:
    """Run the flow of transfers and show the comparisons, also where a student failed; as `run_by_hand`."""
    params, changes = preflight.settle_params(root, overrides, str(params_file) if params_file else None)
    targets = preflight.chosen_targets(params, names)

    def stale() -> list[str]:
        return [run.stage for run in preflight.check_transfers(root, params, targets, shared_cache(root))]

    def flow() -> Any:
        return importlib.import_module("flows.transfer").run_transfers(targets=list(targets), return_state=True)

    state = _follow(root, changes, stale, flow, console)
    show_transfers(root, targets, console, finished=state.is_completed())
    _raise_if_failed(state)
    return 0


def _follow(
    root: Path, changes: Sequence[str], stale: Callable[[], list[str]], flow: Callable[[], Any], console: Console
) -> Any:
    """The end state of a flow, run with a display and tagged with this process.

    Checks and imports go on while the server starts.
    """
    with display.shown_on(display.TerminalDisplay(console)):
        for change in changes:
            display.current().info(f"params.yaml: {change}")
        server = prefect_server(root)
        first = list(dict.fromkeys(stale()))[:2]
        importlib.import_module("flows.pipeline")
        for stage in first:
            importlib.import_module(f"tasks.{stage}")
        server.wait()
        import prefect

        from flows.run_page import end_killed_runs, process_tags

        end_killed_runs()
        with prefect.tags(*process_tags()):
            return flow()


def _raise_if_failed(state: Any) -> None:
    if not state.is_completed():
        raise SeamError(state.message or f"the run ended {state.name}")
