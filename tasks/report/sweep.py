"""The page of a sweep: hundreds of points compared without opening one; one HTML file that needs nothing else."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.project.params import flat
from tasks.report.page import render
from tasks.report.sweep_figures import Figures
from tasks.report.sweep_measures import (
    ACCURACY,
    ACCURACY_CHANGE,
    DEFECTS,
    DEFECTS_CHANGE,
    DENSITY,
    LATENCY,
    LATENCY_KEPT,
    MACS_KEPT,
)
from tasks.report.sweep_rows import Arranged, SweepRow, alike, closing_line, worst
from tasks.report.sweep_tables import Tables

_TEMPLATE = "sweep_template.html.j2"


@dataclass(frozen=True)
class Tile:
    """What is typical of the points."""

    label: str
    value: str
    detail: str


@dataclass(frozen=True)
class Worst:
    """The points that are worst by one measure."""

    title: str
    none: str
    """Said where there is none."""
    rows: list[tuple[SweepRow, str, str]]
    """Point, its figure, and what that is made of."""


def render_sweep(
    name: str, plan: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], base: Mapping[str, Any] | None = None
) -> str:
    """The whole page.

    Args:
        name: of the sweep.
        plan: what was asked for, as JSON.
        rows: a point each, as `SweepRow.of` takes them, in the order of the plan.
        base: parameter -> the project's own value, for points whose setting leaves it as it is.
    """
    points, base = [SweepRow.of(row) for row in rows], base or {}
    arranged = Arranged(points, base)
    tables, figures = Tables(arranged), Figures(arranged)
    points = arranged.order
    return render(
        _TEMPLATE,
        [],
        name=name,
        plan=_asked(plan),
        points=points,
        closing=closing_line(points),
        counts={state: sum(row.state == state for row in points) for state in ("done", "failed", "waiting")},
        tiles=tiles(points),
        failures=alike((row, row.error or "no line was kept") for row in points if row.state == "failed"),
        scatters=figures.scatters(),
        legend=figures.legend,
        columns=tables.columns(),
        lines=tables.lines(),
        tables=tables.tables(),
        worst=worst_cases(points),
        gates=gates(points),
        doubts=alike((row, text) for row in points for text in row.doubts),
        numbers=arranged.numbers,
    )


def tiles(rows: Sequence[SweepRow]) -> list[Tile]:
    """Median and range of what counts."""
    labels = {
        ACCURACY_CHANGE: "accuracy against the original, points",
        DENSITY: "weights kept",
        LATENCY_KEPT: "time left",
        MACS_KEPT: "multiply-adds left",
        DEFECTS_CHANGE: "inherited defects against standard, points",
    }
    made = []
    for measure, label in labels.items():
        known = sorted(value for row in rows if (value := measure.of(row.headline)) is not None)
        if known:
            low, middle, high = (measure.shown(v) for v in (known[0], statistics.median(known), known[-1]))
            made.append(Tile(label, middle, f"{low} to {high}" if len(known) > 1 else "one point"))
    return made


def worst_cases(rows: Sequence[SweepRow]) -> list[Worst]:
    """Largest losses: of accuracy, to inherited defects, of time."""
    cases = (
        ("Largest drop in accuracy", "No point lost accuracy.", ACCURACY_CHANGE, 0.0, ACCURACY, "original_accuracy"),
        (
            "More defects than standard fine-tuning",
            "No point inherits more.",
            DEFECTS_CHANGE,
            0.0,
            DEFECTS,
            "standard_defect_inheritance_rate",
        ),
        ("Slower than the original", "No point is slower.", LATENCY_KEPT, 1.0, LATENCY, "original_latency_ms_p50"),
    )
    found = []
    for title, none, measure, limit, of, before in cases:
        if all(measure.of(row.headline) is None for row in rows):
            continue
        unit = " points" if measure.signed else ""
        unit_of = " ms" if of is LATENCY else ""
        shown = [
            (
                row,
                measure.shown(measure.of(row.headline)) + unit,
                f"{of.shown(of.of(row.headline))}{unit_of} against {of.shown(row.headline[before])}{unit_of}",
            )
            for row in worst(rows, measure, limit)
        ]
        found.append(Worst(title, none, shown))
    return found


def gates(rows: Sequence[SweepRow]) -> list[tuple[str, int, list[tuple[SweepRow, str]]]]:
    """(gate, points judged by it, those that do not meet it with what it says), the least met first."""
    judged: dict[str, int] = {}
    unmet: dict[str, list[tuple[SweepRow, str]]] = {}
    for row in rows:
        for gate in row.headline.get("gates", ()):
            judged[gate["gate"]] = judged.get(gate["gate"], 0) + 1
            unmet.setdefault(gate["gate"], [])
            if not gate["passed"]:
                unmet[gate["gate"]].append((row, gate["text"]))
    return [(gate, judged[gate], said) for gate, said in sorted(unmet.items(), key=lambda item: -len(item[1]))]


def _asked(plan: Mapping[str, Any]) -> dict[str, Any]:
    """What the plan says beside defaults."""
    return {key: value for key, value in flat(dict(plan)).items() if value not in (None, False, [], {}, ())}
