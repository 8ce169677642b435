"""The page of a modularization: what each class needs of each layer, and what the modules are worth together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from tasks.project.params import flat
from tasks.project.stage import StageContext
from tasks.report.confusion import confusion_plot
from tasks.report.figures import new_figure
from tasks.report.heat import SHADES, put_names
from tasks.report.module_rows import COLUMNS, modules_of, rows_of
from tasks.report.page import Plot, render

_TEMPLATE = "modularization_template.html.j2"
_CONFUSION = "Test images of each class (rows) by what they are taken for"


def plots(
    metrics: Mapping[str, Any], layers: Sequence[str], kept: Sequence[Sequence[float]], pairs: Sequence[Sequence[float]]
) -> list[Plot]:
    """The pictures.

    Args:
        metrics: of the stage.
        layers: names of what has a mask.
        kept: of each class and layer, the share that is kept.
        pairs: of each two classes, what both keep as a share of what one of them keeps.
    """
    classes, before, after = metrics["classes"], metrics["source"], metrics["composed"]
    return [
        Plot(
            "kernels",
            "What each class needs",
            "Share of each layer that each module keeps; dark is all of it.",
            partial(_heat, kept, classes, layers),
        ),
        Plot(
            "jaccard",
            "What modules have in common",
            "Of each two modules, what both keep as a share of what one of them keeps; dark is the same mask.",
            partial(_heat, pairs, classes, classes),
        ),
        confusion_plot("before", "The source", f"{_CONFUSION}.", before["confusion"], classes),
        confusion_plot("after", "All modules together", f"{_CONFUSION}.", after["confusion"], classes),
    ]


def _heat(values: Sequence[Sequence[float]], rows: Sequence[str], columns: Sequence[str]) -> Figure:
    """Shares in [0, 1], a row a class."""
    figure, axes = new_figure(3.4)
    image = axes.imshow(values, cmap=SHADES, vmin=0, vmax=1, aspect="auto")
    put_names(axes.set_yticks, rows)
    put_names(axes.set_xticks, [name.removesuffix(".weight") for name in columns], rotation=90)
    axes.grid(visible=False)
    figure.colorbar(image, ax=axes, shrink=0.7)
    return figure


def render_modularization_report(context: StageContext, metrics: Mapping[str, Any], drawn: Sequence[Plot]) -> str:
    """The whole page."""
    dumped = context.params.model_dump(mode="json")
    entry = dumped["modularizations"][context.name]
    own = {key: entry[key] for key in ("data", "source", "method", metrics["method"]) if entry[key] is not None}
    return render(
        _TEMPLATE,
        drawn,
        name=context.name,
        metrics=metrics,
        rows=rows_of(metrics),
        modules=modules_of(metrics),
        columns=COLUMNS,
        parameters=flat({"seed": dumped["seed"], "modularization": own}),
    )
