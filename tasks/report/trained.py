"""What is said of how a method's students were trained: with which setting, whether they learnt, what grew again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.report.words import NOTHING, show

_DENSER = 0.005
"""Growth of the density, in [0, 1], from which a student is called regrown."""


def is_regrown(row: Mapping[str, Any]) -> bool:
    """Whether the weights that a method removed grew again in training: its students are denser than their masks."""
    start, end = (row[key]["mean"] for key in ("density_start", "density_end"))
    return bool(end - start > _DENSER)


def remarks(row: Mapping[str, Any]) -> list[str]:
    """What a reader of a method's row must know: that it regrew, that training did not help, how it was trained.

    Args:
        row: of a method, as in comparison.json.
    """
    found = []
    if is_regrown(row):
        found.append(f"regrown: {row['density_end']['mean']:.0%} of the weights are non-zero")
    epochs = row.get("best_epoch", [])
    untrained = sum(epoch == 0 for epoch in epochs)
    if untrained:
        of = "" if untrained == len(epochs) else f"{untrained} of {len(epochs)} students "
        found.append(f"{of}never trained: epoch 0 was the best")
    return found


def setting_words(setting: Mapping[str, Any]) -> str:
    """A setting in one line: "rate 0.002, classifier 0.002, momentum 0.9, cosine, fitted classifier"."""
    return (
        f"rate {setting['lr']:g}, classifier {setting['lr_head']:g}, momentum {setting['momentum']:g},"
        f" {setting['schedule']}, {setting['head_start']} classifier"
    )


def merged_settings(students: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The settings that a method's students were chosen from, one entry each.

    Args:
        students: their metrics, a seed each; all were tried with the same settings.

    Returns:
        Of each setting its numbers, `val_accuracy` (a value a seed, None: the loss was not finite) and
        `chosen` (the seeds whose student was trained with it).
    """
    merged = []
    for tried in zip(*(student["settings"] for student in students), strict=True):
        numbers = {k: v for k, v in tried[0].items() if k not in ("val_accuracy", "best_epoch", "chosen")}
        chosen = [s["seed"] for s, setting in zip(students, tried, strict=True) if setting["chosen"]]
        merged.append({**numbers, "val_accuracy": [setting["val_accuracy"] for setting in tried], "chosen": chosen})
    return merged


def were_chosen(rows: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether there was anything to choose from."""
    return any(len(row.get("settings", [])) > 1 for row in rows.values())


def setting_cells(setting: Mapping[str, Any]) -> str:
    """Mean accuracy on val with a setting, and of how many students it was the choice: "86.27%, chosen (2 of 3)"."""
    values = setting["val_accuracy"]
    known = [value for value in values if value is not None]
    text = show(sum(known) / len(known), "fraction") if known else NOTHING
    if len(known) < len(values):
        text += f", not finite in {len(values) - len(known)} of {len(values)}"
    if setting["chosen"]:
        of = "" if len(setting["chosen"]) == len(values) else f" ({len(setting['chosen'])} of {len(values)})"
        text += f", chosen{of}"
    return text
