"""The section on DeepArc says what was measured, and which of the claims that loses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from seam.files import write_json

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import results_restructure


def _way(accuracy: float, seconds: float, share: float) -> dict[str, Any]:
    test = {"clean": accuracy, "attacked": accuracy}
    trained = ["fc", "layer1.2"]
    return {"test": test, "cpu_seconds": seconds, "trained_share": share, "trained": trained, "val_before": 0.7}


def _card(seconds: float, accuracy: float, milliseconds: float) -> dict[str, Any]:
    ways = {"parts": _way(accuracy, seconds, 0.15), "all": _way(0.8, 100.0, 1.0)}
    aim = {**ways, "removed": ["layer2.2"], "untrained": {"clean": 0.5, "attacked": 0.1}}
    conditions = {"engine": "onnxruntime", "batch_size": 16}
    alone = {"test_accuracy": 0.9, "macs": 20e6, "latency_ms_p50": 4.0, "conditions": conditions}
    return {
        "architecture": "resnet20_a",
        "data": "digits",
        "eps_pixel": 0.1,
        "seed": 0,
        "images": {"train": 3000, "val": 1000, "test": 2000},
        "source_test_accuracy": 0.917,
        "training": {"epochs": 3, "lr": 0.02, "lr_full": 0.005},
        "machine": {"cpu": "a CPU", "cores": 2},
        "torch": "2",
        "aims": {"compress": {**aim, "random_untrained_val": [0.2, 0.6]}, "adversarial": aim},
        "channels": {"source": alone, "restructured": {**alone, "latency_ms_p50": milliseconds}},
    }


@pytest.mark.parametrize(
    ("seconds", "accuracy", "milliseconds", "said"),
    [
        (60.0, 0.8, 3.0, ("40.0% less, accuracy +0.00 points | met", "25.0% less, accuracy +0.00 points | met")),
        (60.0, 0.79, 3.0, ("40.0% less, accuracy -1.00 points | **lost**", "25.0% less")),
        (
            90.0,
            0.8,
            3.9,
            ("10.0% less, accuracy +0.00 points | **lost**", "2.5% less, accuracy +0.00 points | **lost**"),
        ),
    ],
)
def test_claimed_beside_measured(
    seconds: float,
    accuracy: float,
    milliseconds: float,
    said: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(results_restructure, "CARDS", tmp_path)
    assert results_restructure.section() == ""
    write_json(tmp_path / "a.json", _card(seconds, accuracy, milliseconds))
    text = results_restructure.section()
    assert all(part in text for part in said), text
    assert "15.0% of the weights" in text
    assert "The source was trained on most of the images that val is drawn from" in text and "under-perf" not in text
    assert "leave 70.0%; as many random ones 40.0% (mean of 2 draws, best 60.0%)" in text


def test_sources_of_their_own_and_an_under_performing_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results_restructure, "CARDS", tmp_path)
    card = _card(60.0, 0.8, 3.0)
    card["aims"]["repair"] = {**card["aims"]["adversarial"], "untrained": {"clean": 0.5}}
    card["aims"]["repair"]["parts"] = _way(0.79, 50.0, 0.15)
    write_json(tmp_path / "a.json", {**card, "source_epochs": 20, "weak_epochs": 4, "note": "Twice."})
    text = results_restructure.section()
    row = "| training time of parts, an under-performing network | 32.85% less at a similar accuracy |"
    assert f"{row} 50.0% less, accuracy -1.00 points | **lost** |" in text
    assert "a source of its own, trained for 20 epochs" in text and "ended after 4" in text
    assert "so val flatters" not in text and "torch 2. Twice." in text
