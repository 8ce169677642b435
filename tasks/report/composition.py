"""A composition in words and numbers, and its page: the composed network beside its sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.project.params import flat
from tasks.project.stage import StageContext
from tasks.report.confusion import confusion_plot
from tasks.report.page import Plot, render
from tasks.report.words import NOTHING, Kind, show

_TEMPLATE = "composition_template.html.j2"
_QUANTITIES: tuple[tuple[str, str, Kind], ...] = (
    ("accuracy (test)", "accuracy", "fraction"),
    ("weights", "params_nonzero", "count"),
    ("multiply-adds", "macs_nonzero", "count"),
    ("latency p50", "latency_ms_p50", "milliseconds"),
)
COMPARED = tuple(words for words, _, _ in _QUANTITIES)
"""What networks are compared by."""


def composition_rows(metrics: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """The composed network, then each source: its name and a cell for each of `COMPARED`."""
    networks = {"composed": metrics["composed"], **metrics["each"]}
    wanted = len(metrics["classes"])
    return [
        (
            name + (f", {len(one['classes'])} of {wanted} classes" if len(one.get("classes", ())) % wanted else ""),
            [show(one[key], unit) for _, key, unit in _QUANTITIES],
        )
        for name, one in networks.items()
    ]


def class_rows(metrics: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """A row a class: whose module was chosen, its F1 on val of each source, and F1 on test of all networks."""
    each = metrics["each"]
    return [
        (
            name,
            [
                metrics["chosen"][name],
                *(show(metrics["f1_on_val"][name].get(source), "fraction") for source in each),
                show(metrics["composed"]["f1"][name], "fraction"),
                *(show(one["f1"].get(name), "fraction") if name in one["f1"] else NOTHING for one in each.values()),
            ],
        )
        for name in metrics["classes"]
    ]


def class_columns(metrics: Mapping[str, Any]) -> list[str]:
    """Heads of the cells of `class_rows`."""
    each = metrics["each"]
    return ["module of", *(f"module of {name}, val" for name in each), "composed", *each]


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
