"""The page of a restructuring: which blocks are alike, which went, which trained, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tasks.project.params import flat
from tasks.project.stage import StageContext
from tasks.report.figures import INK, THIRD, new_figure
from tasks.report.heat import SHADES, put_names
from tasks.report.page import Plot, render
from tasks.report.ways import COLUMNS, rows_of, ways_of

_TEMPLATE = "restructuring_template.html.j2"


def similarity_plot(segments: Mapping[str, Any], metrics: Mapping[str, Any]) -> Plot:
    """The heat map of a restructuring."""
    names = [block["name"] for block in segments["blocks"]]
    change = metrics["change"]
    return Plot(
        "cka",
        "How alike the blocks are",
        "Linear CKA between what goes into the first block and what comes out of each, over training images; dark is"
        " alike. Framed: segments. Marked: blocks that went.",
        partial(similarity, segments["cka"], names, segments["runs"], change["removed"], change["trained"]),
    )


def similarity(
    cka: Sequence[Sequence[float]],
    names: Sequence[str],
    runs: Sequence[tuple[int, int]],
    removed: Sequence[str],
    trained: Sequence[str],
) -> Figure:
    """CKA of every two values, a frame around each segment; removed blocks are crossed out, trained ones bold."""
    figure, axes = new_figure(4.4)
    image = axes.imshow([[max(0.0, value) for value in row] for row in cka], cmap=SHADES, vmin=0, vmax=1)
    for start, stop in runs:
        if stop - start > 1:
            size = stop - start
            frame = Rectangle((start - 0.5, start - 0.5), size, size, fill=False, edgecolor=THIRD, linewidth=1.4)
            axes.add_patch(frame)
    gone = [i + 1 for i, name in enumerate(names) if name in removed]
    axes.plot(gone, gone, "x", color=THIRD, markersize=6)
    put_names(axes.set_yticks, ["input", *names])
    for label in axes.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() in trained else "normal")
        label.set_color(THIRD if label.get_text() in removed else INK)
    axes.set_xticks([])
    axes.grid(visible=False)
    figure.colorbar(image, ax=axes, shrink=0.7)
    return figure


def render_restructuring_report(context: StageContext, metrics: Mapping[str, Any], drawn: Plot) -> str:
    """The whole page."""
    dumped = context.params.model_dump(mode="json")
    return render(
        _TEMPLATE,
        [drawn],
        name=context.name,
        architecture=context.params.prepare_source.architecture,
        metrics=metrics,
        rows=rows_of(metrics),
        ways=ways_of(metrics),
        columns=COLUMNS,
        parameters=flat({"seed": dumped["seed"], "restructuring": dumped["restructurings"][context.name]}),
    )
