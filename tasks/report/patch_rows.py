"""A patch in words and numbers: the weak model before and after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.report.before_after import Quantity, before_after_rows
from tasks.report.words import show_change

_QUANTITIES: tuple[Quantity, ...] = (
    ("precision of '{class}'", "precision", "fraction"),
    ("recall of '{class}'", "recall", "fraction"),
    ("F1 of '{class}'", "f1", "fraction"),
    ("others right", "rest", "fraction"),
    ("accuracy", "accuracy", "fraction"),
    ("weights", "params_nonzero", "count"),
    ("multiply-adds", "macs_nonzero", "count"),
    ("latency p50", "latency_ms_p50", "milliseconds"),
)
"""Of the weak model and of the patched one, on test: words, key in metrics.json, unit."""


def patch_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """The table of both networks: quantity, weak, patched, change."""
    named = [(words.format_map(metrics), key, unit) for words, key, unit in _QUANTITIES]
    return before_after_rows(named, metrics["weak"], metrics["patched"])


def verdict(metrics: Mapping[str, Any]) -> str:
    """Whether the patch is taken, by val: one line."""
    val = metrics["val"]
    f1, rest = ((val[f"{what}before"], val[f"{what}after"]) for what in ("", "rest_"))
    shown = [show_change(a, b, "fraction") for a, b in ((f1[0]["f1"], f1[1]["f1"]), rest)]
    word = "accepted" if metrics["accepted"] else "not accepted"
    return f"{word}: on {metrics['num_val']} val images F1 of '{metrics['class']}' {shown[0]}, the others {shown[1]}"
