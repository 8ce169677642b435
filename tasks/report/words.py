"""How values, and their changes, are shown in every report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from seam.configs.data import ValFrom

Kind = Literal["count", "fraction", "milliseconds"]
NOTHING = "\N{EN DASH}"
VAL_FROM: Mapping[ValFrom, str] = {
    "train": "carved out of the training images",
    "test": "carved out of the test images",
    "given": "given with the data",
}
"""Where the val images of a split come from."""


def show(value: float | None, kind: Kind) -> str:
    """A value as people read it: 12,345 or 1.23 M; 98.76%; 1.234 ms."""
    if value is None:
        return NOTHING
    if kind == "fraction":
        return f"{100 * value:.2f}%"
    if kind == "milliseconds":
        return f"{value:.3f} ms" if value < 10 else f"{value:.1f} ms"
    return f"{value / 1e6:,.2f} M" if value >= 1e6 else f"{value:,.0f}"


def show_change(before: float | None, after: float | None, kind: Kind) -> str:
    """The change between two values: "+0.56 points" for fractions, "-82.1%" for the rest."""
    if before is None or after is None or (kind != "fraction" and before == 0):
        return NOTHING
    text = f"{100 * (after - before):+.2f} points" if kind == "fraction" else f"{100 * (after / before - 1):+.1f}%"
    return text.replace("-", "\N{MINUS SIGN}")


def served_form(timed: Mapping[str, Any]) -> str:
    """The model that consumers get, of those that an engine timed."""
    return "compacted" if "compacted" in timed else "reengineered"
