"""The page of a composition: the composed network beside its sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.project.params import flat
from tasks.project.stage import StageContext
from tasks.report.composition_rows import COMPARED, class_columns, class_rows, composition_rows
from tasks.report.confusion import confusion_plot
from tasks.report.page import Plot, render

_TEMPLATE = "composition_template.html.j2"


def confusion_plots(metrics: Mapping[str, Any]) -> list[Plot]:
    """Heat maps of the sources and of the composed network on test."""
    about = "Rows: what images are; columns: what they are taken for, as a share of the row. On test."
    own = " Each image is given to the source whose module stands for its class."
    return [
        confusion_plot("before", "The sources", about + own, metrics["sources"]["confusion"], metrics["classes"]),
        confusion_plot("after", "Composed", about, metrics["composed"]["confusion"], metrics["classes"]),
    ]


def render_composition_report(context: StageContext, metrics: Mapping[str, Any], drawn: Sequence[Plot]) -> str:
    """The whole page."""
    dumped = context.params.model_dump(mode="json")
    return render(
        _TEMPLATE,
        drawn,
        name=context.name,
        metrics=metrics,
        columns=COMPARED,
        rows=composition_rows(metrics),
        class_columns=class_columns(metrics),
        class_rows=class_rows(metrics),
        parameters=flat({"seed": dumped["seed"], "composition": dumped["compositions"][context.name]}),
    )
