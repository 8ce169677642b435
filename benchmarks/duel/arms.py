"""The arms of the duel: the one list. A new arm is a function (task, setting) -> Made, and a row here."""

from __future__ import annotations

from duel.rivals import hesso, plain, torch_pruning
from duel.task import Arm

MAIN = ("whole", "tp-taylor", "tp-magnitude", "tp-taylor-steps", "hesso", "uniform", "random-0", "scratch")
"""Arms that are run where nothing is said."""
_TP = ("torch_pruning",)
ARMS: dict[str, Arm] = {
    "whole": Arm("the original, fine-tuned", plain.whole, "bound", within_budget=False),
    "uniform": Arm("uniform width, by magnitude", plain.uniform, "rival"),
    "random-0": Arm("random channels, draw 1", plain.random_channels(0), "rival"),
    "random-1": Arm("random channels, draw 2", plain.random_channels(1), "rival"),
    "random-2": Arm("random channels, draw 3", plain.random_channels(2), "rival"),
    "scratch": Arm("uniform width, from scratch", plain.scratch, "rival"),
    "tp-taylor": Arm("Torch-Pruning, Taylor", torch_pruning.arm("taylor", iterative=False), "rival", _TP),
    "tp-magnitude": Arm("Torch-Pruning, magnitude", torch_pruning.arm("magnitude", iterative=False), "rival", _TP),
    "tp-taylor-steps": Arm(
        "Torch-Pruning, Taylor, iterative", torch_pruning.arm("taylor", iterative=True), "rival", _TP
    ),
    "tp-magnitude-steps": Arm(
        "Torch-Pruning, magnitude, iterative", torch_pruning.arm("magnitude", iterative=True), "rival", _TP
    ),
    "hesso": Arm(
        "Only-Train-Once, HESSO", hesso.hesso, "rival", ("only_train_once",), {"own": ("cross-entropy", "logits")}
    ),
}
