"""A restructuring in words and numbers: before and after, and the ways beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.report.before_after import Quantity, before_after_rows
from tasks.report.words import NOTHING, show

QUANTITIES: tuple[Quantity, ...] = (
    ("accuracy (test)", "accuracy", "fraction"),
    ("accuracy (val)", "val_accuracy", "fraction"),
    ("weights", "params_total", "count"),
    ("multiply-adds", "macs", "count"),
    ("latency p50", "latency_ms_p50", "milliseconds"),
)
"""Of the source and of what was made of it: words, key in metrics.json, unit."""
CONTROLS = {
    "deeparc": "DeepArc",
    "random": "random blocks, untrained",
    "last": "the last blocks",
    "full": "the same blocks, all weights trained as long",
}
"""Ways by their name in metrics.json."""
COLUMNS = ("removed", "trained", "of the weights", "val before", "val after", "epochs", "seconds")


def rows_of(metrics: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """The table of both networks: quantity, source, restructured, change."""
    return before_after_rows(QUANTITIES, metrics["source"], metrics["restructured"])


def ways_of(metrics: Mapping[str, Any]) -> list[tuple[str, bool, list[str]]]:
    """The table of ways: words, whether it is the one taken, cells in the order of `COLUMNS`; random draws as one."""
    change, draws = metrics["change"], [c for c in metrics["controls"] if c["name"] == "random"]
    rows = [(CONTROLS["deeparc"], True, _cells(change))]
    if draws:
        values = [draw["val_accuracy_before"] for draw in draws]
        spread = f"{show(sum(values) / len(values), 'fraction')}, best {show(max(values), 'fraction')}"
        words = f"{CONTROLS['random']}, mean of {len(draws)} draws"
        rows.append((words, False, [str(len(change["removed"])), *[NOTHING] * 2, spread, *[NOTHING] * 3]))
    others = [c for c in metrics["controls"] if c["name"] != "random"]
    return rows + [(CONTROLS[c["name"]], False, _cells(c)) for c in others]


def _cells(change: Mapping[str, Any]) -> list[str]:
    return [
        ", ".join(change["removed"]) or NOTHING,
        ", ".join(name or "all" for name in change["trained"]) or NOTHING,
        show(change["trained_share"], "fraction"),
        show(change["val_accuracy_before"], "fraction"),
        show(change["val_accuracy"], "fraction"),
        str(change["epochs"]),
        f"{change['seconds']:.1f}",
    ]
