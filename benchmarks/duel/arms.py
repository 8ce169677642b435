"""The arms of the duel: the one list. A new arm is a function (task, setting) -> Made, and a row here."""

from __future__ import annotations

from duel.rivals import plain
from duel.task import Arm

MAIN = ("whole", "uniform", "random-0", "scratch")
"""Arms that are run where nothing is said."""
ARMS: dict[str, Arm] = {
    "whole": Arm("the original, fine-tuned", plain.whole, "bound", within_budget=False),
    "uniform": Arm("uniform width, by magnitude", plain.uniform, "rival"),
    "random-0": Arm("random channels, draw 1", plain.random_channels(0), "rival"),
    "random-1": Arm("random channels, draw 2", plain.random_channels(1), "rival"),
    "random-2": Arm("random channels, draw 3", plain.random_channels(2), "rival"),
    "scratch": Arm("uniform width, from scratch", plain.scratch, "rival"),
}
