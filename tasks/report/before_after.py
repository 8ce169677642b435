"""Two networks side by side: the rows of a table of quantities before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.report.words import Kind, show, show_change

Quantity = tuple[str, str, Kind]
"""Words, key in metrics.json, unit."""


def before_after_rows(
    quantities: Sequence[Quantity], before: Mapping[str, Any], after: Mapping[str, Any]
) -> list[tuple[str, str, str, str]]:
    """Words, the value before, after, and the change."""
    return [
        (words, show(before[key], unit), show(after[key], unit), show_change(before[key], after[key], unit))
        for words, key, unit in quantities
    ]
