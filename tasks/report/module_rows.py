"""A modularization in words and numbers: the source beside its modules, and what each module keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.report.words import Kind, show, show_change

COLUMNS = ("kernels", "weights", "multiply-adds", "F1")
_QUANTITIES: tuple[tuple[str, str, Kind], ...] = (
    ("accuracy (test)", "accuracy", "fraction"),
    ("weights", "params_total", "count"),
    ("multiply-adds", "macs", "count"),
    ("latency p50", "latency_ms_p50", "milliseconds"),
)


def rows_of(metrics: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """The source beside all of its modules together: quantity, source, composed, change."""
    before, after = metrics["source"], metrics["composed"]
    return [
        (words, show(before[key], unit), show(after[key], unit), show_change(before[key], after[key], unit))
        for words, key, unit in _QUANTITIES
    ]


def modules_of(metrics: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """A row a class: what its module keeps of the source, in the order of `COLUMNS`, and how well it is found."""
    return [
        (name, [show(size[key], "fraction") for key in ("kernels", "params", "macs", "f1")])
        for name, size in metrics["modules"].items()
    ]
