"""What is said of how students were trained, against what it says by hand."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.report.trained import is_regrown, merged_settings, remarks, setting_cells, setting_words, were_chosen

SETTING = {"lr": 0.002, "lr_head": 0.01, "momentum": 0.9, "schedule": "cosine", "head_start": "fitted"}


def row_of(start: float, end: float, *epochs: int) -> dict[str, Any]:
    return {"density_start": {"mean": start}, "density_end": {"mean": end}, "best_epoch": list(epochs)}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (row_of(0.2, 0.588, 3, 9), ["regrown: 59% of the weights are non-zero"]),
        (row_of(0.2, 0.2, 3), []),
        (row_of(1.0, 1.0, 3), []),
        (row_of(0.97, 0.9701, 0, 0), ["never trained: epoch 0 was the best"]),
        (
            row_of(0.3, 0.7, 0, 4, 2),
            ["regrown: 70% of the weights are non-zero", "1 of 3 students never trained: epoch 0 was the best"],
        ),
    ],
)
def test_remarks(row: dict[str, Any], said: list[str]) -> None:
    assert remarks(row) == said
    assert is_regrown(row) == any("regrown" in text for text in said)


def test_settings_of_seeds_are_one_list() -> None:
    slow = {**SETTING, "lr": 0.001}
    metrics = [
        {
            "seed": seed,
            "settings": [
                {**SETTING, "val_accuracy": first, "best_epoch": 1, "chosen": seed == 0},
                {**slow, "val_accuracy": 0.5, "best_epoch": 2, "chosen": seed == 7},
            ],
        }
        for seed, first in ((0, 0.75), (7, None))
    ]
    best, other = merged_settings(metrics)
    assert best == {**SETTING, "val_accuracy": [0.75, None], "chosen": [0]}
    assert other == {**slow, "val_accuracy": [0.5, 0.5], "chosen": [7]}
    assert setting_cells(best) == "75.00%, not finite in 1 of 2, chosen (1 of 2)"
    assert setting_cells({**other, "chosen": [0, 7]}) == "50.00%, chosen"
    assert setting_cells({**other, "val_accuracy": [None, None], "chosen": []}).startswith("\N{EN DASH}, not finite")
    assert setting_words(best) == "rate 0.002, classifier 0.01, momentum 0.9, cosine, fitted classifier"
    assert were_chosen({"seam": {"settings": [best, other]}}) and not were_chosen(
        {"seam": {"settings": [best]}, "a": {}}
    )
