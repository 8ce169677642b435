"""Methods that transfer a trained network to another data set, by name.

The text at the top of each one's file is its card.
"""

from __future__ import annotations

import inspect
import sys

from seam.methods import magnitude, random_mask, remos, retrain, seam, standard
from seam.methods.protocol import Method

METHODS: dict[str, Method] = {
    "standard": standard.start,
    "seam": seam.start,
    "remos": remos.start,
    "magnitude": magnitude.start,
    "random_mask": random_mask.start,
    "retrain": retrain.start,
}
"""Name -> method, in the order in which results are listed."""


def card(name: str) -> str:
    """What a method does, when to use it, how it differs from its paper, and its published settings."""
    return inspect.getdoc(sys.modules[METHODS[name].__module__]) or ""
