"""`seam check`: a look at the source before anything is computed."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from seam.errors import ADVICE
from tasks.inputs.check_up import look
from tasks.project.advice import advice, advising
from tasks.project.params import load_params
from tasks.project.subject import StageRun

_MARKS = {"ok": "[green]✓[/green]", "doubt": "[yellow]–[/yellow]", "stop": "[red]✗[/red]"}


def show_check_up(root: Path, console: Console) -> int:
    """Print what was found.

    Returns:
        0, or 1 if the network cannot be worked on.

    Raises:
        SeamError: there is no such network, checkpoint or data set.
    """
    run = StageRun("prepare_source")
    with advising(run):
        findings = look(root, load_params(root / "params.yaml"))
    table = Table("", "what", "found")
    for finding in findings:
        to_do = f"; {advice(finding.hint, run) or ADVICE[finding.hint]}." if finding.hint else ""
        table.add_row(_MARKS[finding.verdict], finding.what, escape(f"{finding.found}{to_do}"))
    console.print(table)
    return int(any(finding.verdict == "stop" for finding in findings))
