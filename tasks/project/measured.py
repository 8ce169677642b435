"""The models that are measured on a problem, one row each: every list of them, in any stage or report, is made here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

Kind = Literal["original", "reengineered", "all_weights", "searched_mask", "other_mask", "scratch"]
"""What is done to the source: nothing; the searched mask, as it is served; no mask; the searched
mask or another of its density, each with head and normalisation layers trained anew; nothing of it
is used but its architecture."""


@dataclass(frozen=True)
class MeasuredModel:
    """One model."""

    name: str
    """Its key in the stages' JSON files and in MLflow."""
    label: str
    """How people call it."""
    words: str
    """What it is, in a sentence."""
    kind: Kind
    weights: tuple[str, str] | None = None
    """Stage and file of what was trained for it; None: made, measured and dropped by `evaluate`."""
    attacked: bool = False
    """Whether `evaluate_robustness` attacks it."""

    @property
    def has_searched_mask(self) -> bool:
        """Whether the weights that the search removed are removed here."""
        return self.kind in ("reengineered", "searched_mask")


_ROWS = (
    MeasuredModel(
        "source",
        "original",
        "As it is; the largest of all its logits decides.",
        "original",
        weights=("prepare_source", "source.safetensors"),
        attacked=True,
    ),
    MeasuredModel(
        "restricted",
        "original, only target classes' logits",
        "As it is, told which classes to choose from; no weight is trained.",
        "all_weights",
    ),
    MeasuredModel(
        "head_only",
        "original, all weights, new head",
        "The new head fitted with every weight kept: what the head gains, the mask has not.",
        "all_weights",
        weights=("search", "head_only.safetensors"),
    ),
    MeasuredModel(
        "reengineered",
        "re-engineered",
        "The searched mask, with its own head.",
        "reengineered",
        weights=("search", "head.safetensors"),
        attacked=True,
    ),
    MeasuredModel(
        "standard_finetuned",
        "original, fine-tuned",
        "All weights trained further on the problem, with the new head.",
        "all_weights",
        weights=("finetune", "standard_finetuned.safetensors"),
        attacked=True,
    ),
    MeasuredModel(
        "adapted",
        "original, all weights, head and norm layers",
        "Every weight kept, head and normalisation layers trained as in the rows below.",
        "all_weights",
    ),
    MeasuredModel(
        "reengineered_refit",
        "searched mask, same density",
        "The searched mask, with head and normalisation layers trained anew, as in the rows below: these differ in the"
        " mask alone.",
        "searched_mask",
    ),
    MeasuredModel(
        "taylor_mask",
        "Taylor mask, same density",
        "Keeps the weights whose removal changes the loss most, by one pass of gradients over the training images.",
        "other_mask",
    ),
    MeasuredModel(
        "magnitude_mask",
        "magnitude mask, same density",
        "Keeps the largest weights, whatever the problem.",
        "other_mask",
    ),
    MeasuredModel("random_mask", "random mask, same density", "Keeps weights drawn by chance.", "other_mask"),
    MeasuredModel(
        "retrained",
        "trained from scratch on the problem",
        "A new network of the same architecture, trained on the problem's images alone (the paper's Table IV).",
        "scratch",
    ),
    MeasuredModel(
        "reengineered_finetuned",
        "re-engineered, fine-tuned",
        "The searched mask, then the kept weights trained further; removed ones stay zero.",
        "reengineered",
        weights=("finetune", "reengineered_finetuned.safetensors"),
        attacked=True,
    ),
)
MEASURED = {row.name: row for row in _ROWS}
"""Every model by its name, in the order in which a reader compares them."""


def _names(chosen: Callable[[MeasuredModel], bool]) -> tuple[str, ...]:
    return tuple(name for name, row in MEASURED.items() if chosen(row))


SAVED = _names(lambda m: m.weights is not None)
"""Models that any stage can load."""
ATTACKED = _names(lambda m: m.attacked)
REGISTRABLE = _names(lambda m: m.kind == "reengineered")
"""Models that may become a version in the registry."""
BEFORE_AND_AFTER = _names(lambda m: m.kind in ("original", "reengineered"))
"""The original and what is made of it, before fine-tuning and after it."""
SAME_DENSITY = _names(lambda m: m.kind in ("searched_mask", "other_mask"))
"""Models that differ in the mask alone: one density, head and normalisation layers trained in the
same way."""
UNSEARCHED = _names(lambda m: m.kind == "other_mask")
"""Masks that no search found: chance accuracy is a finding about one of them, no doubt about the
result."""

if TYPE_CHECKING:
    Registrable: TypeAlias = str
    Compared: TypeAlias = str
    ComparedUnderAttack: TypeAlias = str
else:  # for pydantic, the names of the table's rows
    Registrable = Literal[REGISTRABLE]
    Compared = Literal[tuple(n for n in MEASURED if n not in REGISTRABLE)]
    ComparedUnderAttack = Literal[tuple(n for n in ATTACKED if n not in REGISTRABLE)]
