"""The arms of the duel: the one list. A new arm is a function (task, setting) -> Made, and a row here."""

from __future__ import annotations

from duel import ours
from duel.rivals import fastnas, hesso, kirigami, plain, single_weights, torch_pruning
from duel.task import Arm

MAIN = (
    "seam",
    "seam-first",
    "seam-short",
    "whole",
    "tp-taylor",
    "tp-taylor-steps",
    "hesso",
    "uniform",
    "random-0",
    "scratch",
)
"""Arms that are run where nothing is said."""
_TP = ("torch_pruning",)
_PLAIN = {"own": ("cross-entropy",), "ours": ("features",)}
_OWN = {"own": ("cross-entropy", "logits")}
"""Of arms that train while they prune: there is no training of ours that could take its place."""
ARMS: dict[str, Arm] = {
    "whole": Arm(
        "the original, fine-tuned", plain.whole, "bound", losses={"own": ("cross-entropy",)}, within_budget=False
    ),
    "uniform": Arm("uniform width, by magnitude", plain.uniform, "rival"),
    "random-0": Arm("random channels, draw 1", plain.random_channels(0), "rival", losses=_PLAIN),
    "random-1": Arm("random channels, draw 2", plain.random_channels(1), "rival", losses=_PLAIN),
    "random-2": Arm("random channels, draw 3", plain.random_channels(2), "rival", losses=_PLAIN),
    "scratch": Arm("uniform width, from scratch", plain.scratch, "rival", losses=_PLAIN),
    "tp-taylor": Arm("Torch-Pruning, Taylor", torch_pruning.arm("taylor", iterative=False), "rival", _TP),
    "tp-magnitude": Arm("Torch-Pruning, magnitude", torch_pruning.arm("magnitude", iterative=False), "rival", _TP),
    "tp-taylor-steps": Arm(
        "Torch-Pruning, Taylor, iterative", torch_pruning.arm("taylor", iterative=True), "rival", _TP, _OWN
    ),
    "tp-magnitude-steps": Arm(
        "Torch-Pruning, magnitude, iterative", torch_pruning.arm("magnitude", iterative=True), "rival", _TP, _OWN
    ),
    "hesso": Arm("Only-Train-Once, HESSO", hesso.hesso, "rival", ("only_train_once",), _OWN),
    "fastnas": Arm("NVIDIA ModelOpt, FastNAS", fastnas.fastnas, "rival", ("modelopt", "torchprofile"), _OWN),
    "kirigami": Arm("torch-kirigami, Taylor", kirigami.taylor, "rival", ("torch_kirigami",)),
    "seam": Arm("seam, best of four layouts", ours.one_pass(4), "ours", losses={"ours": ("features",)}),
    "seam-first": Arm("seam, first layout", ours.one_pass(1), "ours", losses=_PLAIN),
    "seam-short": Arm(
        "seam, first layout, 7 of 12 passes", ours.one_pass(1, 7 / 12), "ours", losses={"ours": ("features",)}
    ),
    "weights-seam": Arm("seam, single weights", ours.weights, "ours", weights=True),
    "weights-seam-gradual": Arm("seam, weights that leave while it trains", ours.gradual, "ours", weights=True),
    **{name: Arm(label, make, "rival", weights=True) for name, (label, make) in single_weights.ALL.items()},
}
