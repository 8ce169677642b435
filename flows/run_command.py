"""`seam run`: a flow started by hand, with a clean terminal and the closing summary."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from flows import display, preflight
from flows.closing import show_closing
from flows.stage_cache import shared_cache
from flows.temporary_server import prefect_server
from seam.errors import SeamError

os.environ.setdefault("TQDM_DISABLE", "1")  # one bar on the terminal: ours
os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")  # its records go to our log file


def run_by_hand(root: Path, overrides: Sequence[str], params_file: Path | None, names: Sequence[str], console: Console) -> int:
    """Run the flow and show the result.

    Returns:
        The exit status: 0, or 1 if a problem failed.

    Raises:
        SeamError: before the first stage: parameters, data, disk or servers.
    """
    params, changes = preflight.settle_params(root, overrides, str(params_file) if params_file else None)
    problems = preflight.chosen_problems(params, names)
    with display.shown_on(display.TerminalDisplay(console)):
        for change in changes:
            display.current().info(f"params.yaml: {change}")
        server = prefect_server(root)
        stale = preflight.check(root, params, problems, shared_cache(root))  # while the server starts
        importlib.import_module("flows.pipeline")
        for stage, _ in stale[:2]:
            importlib.import_module(f"tasks.{stage}")
        server.wait()
        state = _run(problems)
    if not state.is_completed():
        raise SeamError(state.message or f"the run ended {state.name}")
    show_closing(root, params, problems, console)
    return 0


def _run(problems: Sequence[str]) -> Any:
    """The end state of the flow, tagged with this process."""
    import prefect

    from flows.pipeline import run_pipeline
    from flows.run_page import end_killed_runs, process_tags

    end_killed_runs()
    with prefect.tags(*process_tags()):
        return run_pipeline(problems=list(problems), return_state=True)
