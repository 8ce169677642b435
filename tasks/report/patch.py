"""The page of a patch: what the weak model takes for what, before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.project.params import flat
from tasks.project.stage import StageContext
from tasks.report.confusion import confusion_plot
from tasks.report.page import Plot, render
from tasks.report.patch_rows import patch_rows, verdict

_TEMPLATE = "patch_template.html.j2"


def confusion_plots(metrics: Mapping[str, Any]) -> list[Plot]:
    """Heat maps of the weak and of the patched model on test."""
    about = "Rows: what images are; columns: what the network takes them for, as a share of the row. On test."
    return [
        confusion_plot(name, title, about, metrics[key]["confusion"], metrics["classes"], metrics["class"])
        for name, title, key in (("before", "Before", "weak"), ("after", "After", "patched"))
    ]


def render_patch_report(context: StageContext, metrics: Mapping[str, Any], drawn: Sequence[Plot]) -> str:
    """The whole page."""
    dumped = context.params.model_dump(mode="json")
    return render(
        _TEMPLATE,
        drawn,
        name=context.name,
        metrics=metrics,
        verdict=verdict(metrics),
        rows=patch_rows(metrics),
        parameters=flat({"seed": dumped["seed"], "patch": dumped["patches"][context.name]}),
    )
