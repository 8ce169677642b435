"""The end of `seam transfer` on the terminal.

The methods of every target, what was made, where it is, what to do next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from seam.files import read_json
from tasks.project.environment import tracking_uri
from tasks.project.subject import stage_folder
from tasks.report.words import show

_COLUMNS = ("", "accuracy", "inherited", "above floor", "by noise", "white-box", "weights kept")
_MEANS = ("accuracy", "defect_inheritance_rate", "noise", "pgd")
_NEXT = (
    (
        "seam transfer --set 'transfer.methods=[standard, seam-30, seam-50, seam-70, seam-90, retrain]'",
        "trade accuracy for inherited defects",
    ),
    ("seam transfer --set 'transfer.seeds=[0, 1, 2]'", "more seeds; only new students are trained"),
)


def show_transfers(root: Path, targets: Sequence[str], console: Console, *, finished: bool) -> None:
    """Print a table per target that was compared, then its model and report, then the next commands."""
    for target in targets:
        folder = stage_folder(root, "compare_transfers", target)
        if not (folder / "comparison.json").is_file():
            continue
        comparison = read_json(folder / "comparison.json")
        console.print()
        console.print(_table(comparison))
        for text in comparison["warnings"]:
            console.print(f"  doubt    {escape(text)}", highlight=False, soft_wrap=True)
        for line in [
            *(_made(root, target) if finished else ()),
            f"report   {(folder / 'report.html').relative_to(root)}",
        ]:
            console.print(f"  {line}", highlight=False, soft_wrap=True)
    if finished:
        console.print("\nNext:", style="bold")
        for command, purpose in _NEXT:
            console.print(f"  [bold]{escape(command)}[/bold]  {escape(purpose)}", highlight=False, soft_wrap=True)


def _table(comparison: Mapping[str, Any]) -> Table:
    title = f"{comparison['target']} ({len(comparison['classes'])} classes, {comparison['num_test']} test images)"
    table = Table(title=escape(title), title_justify="left", title_style="bold")
    for name in _COLUMNS:
        table.add_column(name, justify="right" if name else "left")
    for method, row in comparison["methods"].items():
        floor = row.get("above_floor")
        means = [show(row[key]["mean"], "fraction") for key in _MEANS]
        means.insert(2, f"{100 * floor['difference']:+.2f}" if floor else "\N{EN DASH}")
        kept = (
            "\N{RIGHTWARDS ARROW}".join(f"{100 * row[key]['mean']:.0f}" for key in ("density_start", "density_end"))
            + "%"
        )
        table.add_row(escape(method), *means, kept, style="green" if row["base"] == "seam" else None)
    return table


def _made(root: Path, target: str) -> list[str]:
    """What was registered, and which gates were not met."""
    path = stage_folder(root, "register_transfer", target) / "card.json"
    if not path.is_file():
        return []
    card = read_json(path)
    if card["registered_model"] is None:
        lines = ["model    none: no student is of the method that is registered (transfer.register)"]
    else:
        aliases = "".join(f" @{a}" for a in card["aliases"]) or ", no alias: a gate was not met"
        lines = [f"model    models:/{card['registered_model']}/{card['version']}{escape(aliases)}"]
    lines += [
        f"gate     {escape(gate['gate'])} not met: {escape(gate['text'])}"
        for gate in card["gates"]
        if not gate["passed"]
    ]
    return [*lines, f"run      {card['run_id']} in {escape(tracking_uri(root))}"]
