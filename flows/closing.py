"""The end of a run on the terminal: original against re-engineered, what was made, where it is, what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from seam.files import read_json
from tasks.project.environment import tracking_uri
from tasks.project.params import Params
from tasks.project.subject import stage_folder
from tasks.report.closing import ClosingRow, closing_table


def show_closing(root: Path, params: Params, problems: Sequence[str], console: Console) -> None:
    """Print a table per problem, then its model and report, then the next commands."""
    rows = closing_table(root, problems)
    for problem in problems:
        console.print()
        console.print(_table(problem, params.problems[problem], [r for r in rows if r.problem == problem]))
        for line in _made(root, problem):
            console.print(f"  {line}", highlight=False, soft_wrap=True)
    console.print("\nNext:", style="bold")
    for command, purpose in _next(problems[0]):
        console.print(f"  [bold]{escape(command.ljust(40))}[/bold] {escape(purpose)}", highlight=False, soft_wrap=True)


def _table(problem: str, classes: Sequence[str], rows: Sequence[ClosingRow]) -> Table:
    table = Table(title=f"{problem} ({', '.join(classes)})", title_justify="left", title_style="bold")
    for name in ("", "original", "re-engineered", "fine-tuned", "change"):
        table.add_column(name, justify="right" if name else "left")
    for row in rows:
        if row.note:
            table.add_row(row.quantity, *["–"] * 4)
            continue
        style = {True: "green", False: "red", None: ""}[row.improved]
        table.add_row(row.quantity, *row.cells, f"[{style}]{row.change}[/{style}]" if style else row.change)
    notes = [f"{row.quantity}: {row.note}" for row in rows if row.note]
    table.caption = "\n".join(escape(n) for n in notes) or None
    table.caption_justify = "left"
    return table


def _made(root: Path, problem: str) -> list[str]:
    """Where the model and the report of a problem are."""
    folder = stage_folder(root, "register_model", problem)
    lines = []
    if (folder / "card.json").is_file():
        card = read_json(folder / "card.json")
        aliases = (
            "".join(f" @{a}" for a in card.get("aliases") or [])
            or ", no alias: a gate was not met, the report says which"
        )
        lines.append(f"model    models:/{card.get('registered_model')}/{card.get('version')}{escape(aliases)}")
        lines.append(f"run      {card.get('run_id')} in {escape(tracking_uri(root))}")
    lines.append(f"report   {(folder / 'report.html').relative_to(root)}")
    return lines


def _next(problem: str) -> list[tuple[str, str]]:
    return [
        ("seam report --open", "see convergence, density per layer, accuracy, latency"),
        (f"seam serve --problem {problem}", "answer REST requests with class names"),
        ("seam run --set search.target=0.02", "try another trade-off; only what depends on it runs"),
    ]
