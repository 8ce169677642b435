"""A modularization in words and numbers: the source beside its modules, and what each module keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.report.before_after import Quantity, before_after_rows
from tasks.report.words import show

COLUMNS = ("kernels", "weights", "multiply-adds", "F1")
_QUANTITIES: tuple[Quantity, ...] = (
    ("accuracy (test)", "accuracy", "fraction"),
    ("weights", "params_total", "count"),
    ("multiply-adds", "macs", "count"),
    ("latency p50", "latency_ms_p50", "milliseconds"),
)


def rows_of(metrics: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """The source beside all of its modules together: quantity, source, composed, change."""
    return before_after_rows(_QUANTITIES, metrics["source"], metrics["composed"])


def modules_of(metrics: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """A row a class: what its module keeps of the source, in the order of `COLUMNS`, and how well it is found."""
    return [
        (name, [show(size[key], "fraction") for key in ("kernels", "params", "macs", "f1")])
        for name, size in metrics["modules"].items()
    ]
