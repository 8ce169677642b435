"""`seam sweep`: many points on many workers, by hand, and how far they are."""

from __future__ import annotations

import importlib
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows import display
from flows.sweeps.plan import SweepPlan
from flows.sweeps.records import Records
from flows.temporary_server import configured_url, prefect_server
from seam.errors import ConfigError, SeamError


def sweep_by_hand(root: Path, plan: SweepPlan, workers: int, scheduler: str | None, console: Console) -> int:
    """Run the flow of a sweep and show its closing lines; returns the exit status: 0.

    Raises:
        SeamError: it could not begin, or points failed.
    """
    if scheduler is not None and configured_url() is None:
        raise ConfigError(
            f"workers at {scheduler} need a Prefect server to report to, got none; set PREFECT_API_URL"
            " (docs/operator.md)."
        )
    server = prefect_server(root)
    module = importlib.import_module("flows.sweeps.flow")
    server.wait()
    import prefect

    from flows.run_page import BY_HAND, end_killed_runs, process_tags

    end_killed_runs()
    with display.shown_on(display.TerminalDisplay(console)), prefect.tags(BY_HAND, *process_tags()):
        state = module.run_sweep(plan, workers, scheduler, return_state=True)
    if Records(root, plan.name).begun():
        _show_closing(root, plan.name, scheduler is not None, console)
    if not state.is_completed():
        raise SeamError(state.message or f"the sweep ended {state.name}")
    return 0


def _show_closing(root: Path, name: str, travels: bool, console: Console) -> None:
    folder = Records(root, name).folder.relative_to(root)
    console.print(f"page     {escape(str(folder / 'report.html'))}", highlight=False, soft_wrap=True)
    console.print(f"next     seam sweep status {name}", "  [dim]every point on a line[/dim]", highlight=False)
    if travels:
        console.print("next     dvc pull", "  [dim]the results of params.yaml as it is[/dim]", highlight=False)


def show_sweep(root: Path, name: str, console: Console) -> None:
    """A table with a line a point; the same while the sweep goes on.

    Raises:
        ConfigError: there is no such sweep.
    """
    rows = importlib.import_module("flows.sweeps.report").rows_of(Records(root, name))
    if not rows:
        there = sorted(path.parent.name for path in (root / "sweeps").glob("*/sweep.json"))
        raise ConfigError(f"no sweep '{name}'; there is: {', '.join(there) or 'none yet'}.")
    from tasks.report.sweep_rows import SUMMARY, SweepRow, closing_line, summary_rows

    table = Table(*SUMMARY[:2], box=None)
    for head in SUMMARY[2:]:
        table.add_column(head, justify="right")
    for row, cells in zip(rows, summary_rows(rows), strict=True):
        table.add_row(*map(escape, cells), style={"done": None, "failed": "red"}.get(row["state"], "dim"))
    console.print(table)
    for row in rows:
        if row["error"]:
            console.print(f"[red]✗[/red] {escape(row['key'])}: {escape(row['error'])}", highlight=False, soft_wrap=True)
    console.print(closing_line([SweepRow.of(row) for row in rows]), highlight=False, soft_wrap=True)
