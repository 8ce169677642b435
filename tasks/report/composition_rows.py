"""A composition in words and numbers: the composed network beside its sources, and whose module each class has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.report.before_after import Quantity
from tasks.report.words import NOTHING, show

_QUANTITIES: tuple[Quantity, ...] = (
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
