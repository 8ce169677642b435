"""A selection in words and numbers: each candidate with its estimates, cost, licence and what it exposes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seam.measures.transferability.rows import ESTIMATES
from tasks.report.words import NOTHING, show

LABELS: Mapping[str, str] = {name: row.label for name, row in ESTIMATES.items()}
"""Estimates by their names."""
ESTIMATED = tuple(LABELS.values())
"""Columns of estimates."""
COSTS = ("weights", "multiply-adds", "latency p50", "exposed", "likely best", "licence", "public", "origin")
"""Further columns."""
SHORT = (LABELS["probe"], "likely best", "multiply-adds", "latency p50", "exposed")
"""Columns on a terminal, behind the estimate that orders."""


def judged(metrics: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The candidates that could be judged, best first."""
    return [choice for choice in metrics["choices"] if choice["reason"] is None]


def refused(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The others, and why."""
    return [(choice["name"], choice["reason"]) for choice in metrics["choices"] if choice["reason"] is not None]


def selection_rows(metrics: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """A row a candidate: its name, and a cell for each of `ESTIMATED` and `COSTS`."""
    return [(c["name"], [*_estimates(c), *_costs(c).values()]) for c in judged(metrics)]


def short_rows(metrics: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The same for a terminal: the estimate that orders, then `SHORT`."""
    rows = []
    for choice in judged(metrics):
        cells = {**dict(zip(ESTIMATED, _estimates(choice), strict=True)), **_costs(choice)}
        rows.append((choice["name"], cells[LABELS[metrics["by"]]], *(cells[name] for name in SHORT)))
    return rows


def certainty(metrics: Mapping[str, Any]) -> str | None:
    """How sure the order is, in a sentence; None: there is one candidate."""
    found, sure = judged(metrics), metrics["first_beats_second"]
    if sure is None:
        return None
    first, second, label = found[0]["name"], found[1]["name"], LABELS[metrics["by"]]
    likely = "is sure" if sure >= 0.95 else "is likely" if sure >= 0.8 else "is not settled"
    return f"the order of the first two {likely}: {first} is ahead of {second} by {label} in {sure:.0%} of draws"


def _estimates(choice: Mapping[str, Any]) -> list[str]:
    low, high = choice["probe_interval"]
    values = choice["estimates"]
    probe = f"{100 * values['probe']:.1f}% [{100 * low:.1f}, {100 * high:.1f}]"
    return [probe if name == "probe" else f"{values[name]:z.3f}" for name in LABELS]


def _costs(choice: Mapping[str, Any]) -> dict[str, str]:
    public = {True: "yes", False: "no", None: "unknown"}[choice["public"]]
    exposed = NOTHING if choice["exposure"] is None else f"{choice['exposure']:.0%}"
    cells = (
        show(choice["params_total"], "count"),
        show(choice["macs"], "count"),
        show(choice["latency_ms_p50"], "milliseconds"),
        exposed,
        f"{choice['likely_best']:.0%}",
        choice["licence"],
        public,
        choice["origin"],
    )
    return dict(zip(COSTS, cells, strict=True))
