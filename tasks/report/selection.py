"""The page of a selection: every candidate with its estimates, cost and exposure, and how sure the order is."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from seam.measures.transferability.rows import ESTIMATES
from tasks.project.params import flat
from tasks.project.stage import StageContext
from tasks.report.figures import AFTER, BEFORE, new_figure
from tasks.report.page import Plot, render
from tasks.report.selection_rows import COSTS, ESTIMATED, LABELS, certainty, judged, refused, selection_rows

_TEMPLATE = "selection_template.html.j2"


def cost_plot(metrics: Mapping[str, Any]) -> Plot:
    """What each candidate is expected to reach, and what it costs."""
    found = judged(metrics)
    points = [(c["macs"] / 1e6, 100 * c["estimates"]["probe"], c["probe_interval"]) for c in found]
    return Plot(
        "cost",
        "Linear probe and multiply-adds",
        "Share of images that a linear classifier on the frozen features gets right, cross-validated, with 95%"
        " intervals, beside the multiply-adds of one image. Numbers: places in the order.",
        partial(probe_by_cost, points),
    )


def probe_by_cost(points: list[tuple[float, float, tuple[float, float]]]) -> Figure:
    """Probe accuracy in percent with its interval over multiply-adds in millions, numbered; the first in colour."""
    figure, axes = new_figure(3.2)
    for place, (macs, right, (low, high)) in enumerate(points, 1):
        colour = AFTER if place == 1 else BEFORE
        axes.plot([macs, macs], [100 * low, 100 * high], color=colour, linewidth=1.2)
        axes.plot([macs], [right], "o", color=colour, markersize=5)
        axes.annotate(str(place), (macs, right), xytext=(5, 3), textcoords="offset points")
    axes.set(xlabel="multiply-adds, millions", ylabel="% right")
    costs = [macs for macs, _, _ in points]
    if min(costs) > 0 and max(costs) > 20 * min(costs):
        axes.set_xscale("log")
    return figure


def render_selection_report(context: StageContext, metrics: Mapping[str, Any], drawn: Plot) -> str:
    """The whole page."""
    dumped = context.params.model_dump(mode="json")
    notes = [(choice["name"], text) for choice in judged(metrics) for text in choice["notes"]]
    return render(
        _TEMPLATE,
        [drawn],
        name=context.name,
        metrics=metrics,
        columns=(*ESTIMATED, *COSTS),
        rows=selection_rows(metrics),
        refused=refused(metrics),
        notes=notes,
        certainty=certainty(metrics),
        by=LABELS[metrics["by"]],
        estimates=[(LABELS[name], row.words, row.source) for name, row in ESTIMATES.items()],
        normalisations=[(choice["name"], choice["normalisation"]) for choice in judged(metrics)],
        parameters=flat({"seed": dumped["seed"], "selection": dumped["selections"][context.name]}),
    )
