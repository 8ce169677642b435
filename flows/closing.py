"""The end of a run on the terminal: what the subjects came to, what was made, where it is, what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from seam.files import read_json
from seam.methods.catalogue import find
from tasks.project.environment import tracking_uri
from tasks.project.params import Params
from tasks.project.stages import COMPOSITION, MODULARIZATION, PATCH, PROBLEM, RESTRUCTURING, SELECTION, TARGET, Kind
from tasks.project.subject import StageRun, Subject, stage_folder
from tasks.project.timed import ANEW, elsewhere
from tasks.report.closing import ClosingRow, closing_table, time_of_layout
from tasks.report.composition_rows import COMPARED, composition_rows
from tasks.report.module_rows import rows_of as modularization_rows
from tasks.report.patch_rows import patch_rows, verdict
from tasks.report.selection_rows import LABELS, SHORT, certainty, refused, short_rows
from tasks.report.ways import rows_of, ways_of
from tasks.report.words import NOTHING, VAL_FROM, show

_COLUMNS = ("", "accuracy", "inherited", "above floor", "by noise", "white-box", "weights kept")
_MEANS = ("accuracy", "defect_inheritance_rate", "noise", "pgd")


def show_closing(
    root: Path, params: Params, kind: Kind, subjects: Sequence[Subject], console: Console, *, finished: bool
) -> None:
    """Print the results of each subject that has a report, then its model and report."""
    for subject in subjects:
        report = stage_folder(root, kind.reports, subject) / "report.html"
        if not report.is_file():
            continue
        console.print()
        if kind.name in _TABLES:
            console.print(_TABLES[kind.name](root, params, subject))
        lines = [*_val(root, subject), *_time(root, subject), *_ways(root, subject), *_doubts(root, subject)]
        lines += _made(root, subject) if finished else ()
        for line in [*lines, f"report   {report.relative_to(root)}"]:
            console.print(f"  {line}", highlight=False, soft_wrap=True)


def show_next(work: Mapping[Kind, Sequence[Subject]], console: Console) -> None:
    """Print what to do after this: of the first kind all commands, of others the first."""
    console.print("\nNext:", style="bold")
    for number, (kind, subjects) in enumerate(work.items()):
        for command, purpose in kind.next_commands[: 1 if number else None]:
            shown = escape(command.replace("{name}", subjects[0].name).ljust(39))
            console.print(f"  [bold]{shown}[/bold]  {escape(purpose)}", highlight=False, soft_wrap=True)


def _models(root: Path, params: Params, problem: Subject) -> Table:
    """The original network against those made of it."""
    title = f"{problem.name} ({', '.join(params.problems[problem.name])})"
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in ("", "original", "re-engineered", "fine-tuned", "change"):
        table.add_column(name, justify="right" if name else "left")
    rows = closing_table(root, [problem.name])
    for row in rows:
        table.add_row(row.quantity, *_cells(row))
    notes = [f"{row.quantity}: {row.note}" for row in rows if row.note]
    table.caption = "\n".join(escape(n) for n in notes) or None
    table.caption_justify = "left"
    return table


def _cells(row: ClosingRow) -> list[str]:
    if row.note:
        return ["–"] * 4
    style = {True: "green", False: "red", None: ""}[row.improved]
    return [*row.cells, f"[{style}]{row.change}[/{style}]" if style else row.change]


def _methods(root: Path, _params: Params, target: Subject) -> Table:
    """The methods by the accuracy of their students and the defects that came along."""
    comparison = _comparison(root, target)
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
        table.add_row(escape(method), *means, kept, style="green" if find(row["base"]).role == "ours" else None)
    return table


def _restructured(root: Path, _params: Params, restructuring: Subject) -> Table:
    """The source against what was made of it."""
    rows = rows_of(_metrics(root, restructuring))
    return _table(restructuring.name, ("source", "restructured", "change"), rows)


def _taken_apart(root: Path, _params: Params, modularization: Subject) -> Table:
    """The source against all of its modules together."""
    metrics = _metrics(root, modularization)
    kept = f"{len(metrics['modules'])} modules, {show(metrics['kernels'], 'fraction')} of the kernels"
    columns = ("source", "modules together", "change")
    return _table(f"{modularization.name} ({kept})", columns, modularization_rows(metrics))


def _patched(root: Path, _params: Params, patch: Subject) -> Table:
    """The weak model against the patched one."""
    metrics = _metrics(root, patch)
    title, rows = f"{patch.name} ({metrics['of']})", patch_rows(metrics)
    return _table(title, ("weak", "patched", "change"), rows, verdict(metrics))


def _composed(root: Path, _params: Params, composition: Subject) -> Table:
    """The composed network and its sources, a row each."""
    metrics = _metrics(root, composition)
    rows = [(words, *cells) for words, cells in composition_rows(metrics)]
    return _table(f"{composition.name} ({', '.join(metrics['classes'])})", COMPARED, rows)


def _ranked(root: Path, _params: Params, selection: Subject) -> Table:
    """The candidates, best first, and how sure that is."""
    metrics = _metrics(root, selection)
    columns, lines = (LABELS[metrics["by"]], *SHORT), [f"{name}: {why}" for name, why in refused(metrics)]
    sure = certainty(metrics)
    caption = "\n".join(lines if sure is None else [sure, *lines]) or None
    return _table(f"{selection.name} ({metrics['images']} images)", columns, short_rows(metrics), caption)


def _metrics(root: Path, subject: Subject) -> Mapping[str, Any]:
    """Of the stage that reports."""
    content: Mapping[str, Any] = read_json(stage_folder(root, subject.row.reports, subject) / "metrics.json")
    return content


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], caption: str | None = None) -> Table:
    """Words, then a cell for each column."""
    table = Table(title=escape(title), title_justify="left", title_style="bold", caption_justify="left")
    table.caption = None if caption is None else escape(caption)
    for name in ("", *columns):
        table.add_column(name, justify="right" if name else "left")
    for row in rows:
        table.add_row(*map(escape, row))
    return table


_TABLES = {
    COMPOSITION.name: _composed,
    PATCH.name: _patched,
    PROBLEM.name: _models,
    TARGET.name: _methods,
    RESTRUCTURING.name: _restructured,
    MODULARIZATION.name: _taken_apart,
    SELECTION.name: _ranked,
}
"""The results of a subject by its kind; one of another kind shows its model and report alone."""


def _comparison(root: Path, subject: Subject) -> Mapping[str, Any]:
    path = stage_folder(root, subject.row.reports, subject) / "comparison.json"
    content: Mapping[str, Any] = read_json(path) if path.is_file() else {}
    return content


def _val(root: Path, subject: Subject) -> Iterator[str]:
    """How many val images there are, and where they come from."""
    if subject.row.split is None:
        return
    stage, name = subject.row.split
    path = stage_folder(root, stage, subject) / name
    split = read_json(path) if path.is_file() else {}
    if "val_from" in split:
        yield f"val      {split['num_val']} images, {VAL_FROM[split['val_from']]}"


def _time(root: Path, subject: Subject) -> Iterator[str]:
    """What the search said that its layout would take, and what was measured."""
    if not {"search", "benchmark_latency"} <= {stage.name for stage in subject.row.stages}:
        return
    found = time_of_layout(root, subject.name)
    if found:
        yield f"time     {found.text}"
    machine = elsewhere(root, StageRun("benchmark_latency", subject))
    if machine:
        yield f"time     taken on another machine ({escape(machine)}); {ANEW} takes them on this one"


def _ways(root: Path, subject: Subject) -> Iterator[str]:
    """What a restructuring removed and trained, and what other ways gave on val."""
    path = stage_folder(root, subject.row.reports, subject) / "metrics.json"
    metrics = read_json(path) if path.is_file() else {}
    if "change" not in metrics:
        return
    for words, ours, (removed, trained, share, before, after, *_) in ways_of(metrics):
        done = f"removed {removed}; trained {trained} ({share} of the weights); " if ours else ""
        trained_too = "" if after == NOTHING else f", after training {after}"
        yield escape(f"{'blocks' if ours else 'beside':<8} {words}: {done}val {before}{trained_too}")


def _doubts(root: Path, subject: Subject) -> Iterator[str]:
    path = stage_folder(root, subject.row.reports, subject) / "metrics.json"
    found = read_json(path) if path.is_file() else _comparison(root, subject)
    for text in found.get("warnings", []):
        yield f"doubt    {escape(text)}"


def _made(root: Path, subject: Subject) -> Iterator[str]:
    """What was registered, and which gates were not met."""
    if subject.row.registers is None:
        return
    path = stage_folder(root, subject.row.registers, subject) / "card.json"
    if not path.is_file():
        return
    card = read_json(path)
    if card["registered_model"] is None:
        why = card.get("not_registered") or "no student is of the method that is registered (transfer.register)"
        yield escape(f"model    none: {why}")
    else:
        aliases = "".join(f" @{a}" for a in card["aliases"]) or ", no alias"
        yield f"model    models:/{card['registered_model']}/{card['version']}{escape(aliases)}"
    if card.get("doubt"):
        yield escape(f"doubt    {card['doubt']}")
    if card.get("champion") not in (None, card["version"]):
        yield escape(f"champion version {card['champion']}: {card['why']}")
    for gate in [*card["gates"], *card.get("against_champion", ())]:
        if not gate["passed"]:
            yield f"gate     {escape(gate['gate'])} not met: {escape(gate['text'])}"
    yield f"run      {card['run_id']} in {escape(tracking_uri(root))}"
