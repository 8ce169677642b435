"""Figures of a comparison of students; drawn as those in `tasks.report.figures`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from seam.methods.catalogue import FLOOR, STUDENTS, Role, find
from tasks.report.figures import AFTER, BEFORE, INK, THIRD, bars, legend, new_figure

_COLOURS: Mapping[Role, str] = {"yardstick": INK, "ours": AFTER, "rival": THIRD, "control": BEFORE, "floor": INK}
Rows = Mapping[str, Mapping[str, Any]]


def method_label(row: Mapping[str, Any]) -> str:
    """A method as people read it: "SeaM, 50% removed"."""
    removed = f", {100 * row['removal']:g}% removed" if row["removal"] else ""
    return find(row["base"]).label + removed


def is_ours(row: Mapping[str, Any]) -> bool:
    """Whether a row of the comparison is of a method of ours, and not of one it is compared with."""
    return find(row["base"]).role == "ours"


def pareto(rows: Rows) -> Figure:
    """Accuracy against inherited defects, a point a method and removal; up and left is better.

    Bars of one standard deviation over seeds.
    """
    figure, axes = new_figure(3.6)
    for method in STUDENTS:
        own = sorted(
            (row for row in rows.values() if row["base"] == method.name and _known(row)), key=lambda row: row["removal"]
        )
        if not own:
            continue
        color = _COLOURS[method.role]
        x, y = ([100 * row[key]["mean"] for row in own] for key in ("defect_inheritance_rate", "accuracy"))
        spread = [[100 * (row[key]["sd"] or 0.0) for row in own] for key in ("defect_inheritance_rate", "accuracy")]
        axes.errorbar(
            x,
            y,
            yerr=spread[1],
            xerr=spread[0],
            color=color,
            elinewidth=0.7,
            marker=method.mark,
            markersize=6,
            linewidth=1,
            label=method.label,
        )
        if method.role == "ours" or len(own) > 1:
            for row, left, height in zip(own, x, y, strict=True):
                axes.annotate(
                    f"{100 * row['removal']:g}%",
                    (left, height),
                    xytext=(5, 4),
                    textcoords="offset points",
                    fontsize=7.5,
                    color=color,
                )
    axes.set(xlabel="inherited defects (%), less is better", ylabel="accuracy (%)")
    axes.margins(0.12)
    if axes.get_legend_handles_labels()[0]:
        legend(axes, 2)
    return figure


def inheritance(rows: Rows) -> Figure:
    """Defect inheritance rate of each method; the line is the floor, what a network trained from scratch loses."""
    known = [row for row in rows.values() if _known(row)]
    values = [100 * row["defect_inheritance_rate"]["mean"] for row in known]
    figure, axes = new_figure(0.8 + 0.3 * max(2, len(known)))
    bars(
        axes,
        [method_label(row) for row in known],
        values,
        [f"{v:.1f}%" for v in values],
        [AFTER if is_ours(row) else BEFORE for row in known],
    )
    for row, value in zip(known, values, strict=True):
        if row["base"] == FLOOR.name:
            axes.axvline(value, color=THIRD, linewidth=1, linestyle=(0, (4, 3)))
    axes.set(xlabel="inherited defects (%), less is better", xlim=(0, max([1.0, *values]) * 1.18))
    return figure


def _known(row: Mapping[str, Any]) -> bool:
    return row["defect_inheritance_rate"]["mean"] is not None
