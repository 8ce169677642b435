"""What heat maps of classes, layers and blocks have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.colors import LinearSegmentedColormap

from tasks.report.figures import AFTER

SHADES = LinearSegmentedColormap.from_list("seam", ["#ffffff", AFTER])
"""Of shares: white is none, dark is all."""
_MOST_NAMES = 30


def put_names(ticks: Callable[..., Any], names: Sequence[str], rotation: int = 0) -> None:
    """Name the rows or columns of a map; of many, every so many.

    Args:
        ticks: `set_yticks` or `set_xticks` of its axes.
        names: of all rows or columns.
        rotation: of the text, in degrees.
    """
    step = -(-len(names) // _MOST_NAMES)
    ticks(range(0, len(names), step), names[::step], fontsize=6, rotation=rotation)
