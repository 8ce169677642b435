"""The section on the choice among networks says what was measured, and which goals were lost."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import kendalltau

from seam.configs.selection import SelectConfig
from seam.files import write_json
from seam.measures.transferability.rows import ESTIMATES

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import results_select
from results_select import mean_rank, regret, tau

BY = SelectConfig().by


def _card(name: str, scores: list[float], reached: list[float], **changes: Any) -> dict[str, Any]:
    """Sources a, b, ...; every estimate but the default is upside down, and so is the source's accuracy."""
    sources = {
        chr(ord("a") + i): {
            "data": "own" if changes.get("own") and not i else "else",
            "macs": 10,
            "test": test,
            "estimates": {e: score if e == BY else -score for e in ESTIMATES},
            "source_accuracy": -score,
            "params_total": 1000,
        }
        for i, (score, test) in enumerate(zip(scores, reached, strict=True))
    }
    card = {"form": "digits", "problem": name, "data": "own", "pilot": changes.get("pilot", False)}
    return {**card, "seed": 0, "epochs": 3, "machine": {"cpu": "a CPU"}, "sources": sources}


def test_tau_and_regret_by_hand() -> None:
    card = _card("p", [1, 2, 3, 4], [0.5, 0.6, 0.7, 0.8])
    assert tau(card, [1, 2, 3, 4]) == pytest.approx(1) and tau(card, [4, 3, 2, 1]) == pytest.approx(-1)
    assert tau(card, [1, 1, 1, 1]) == 0
    top, bottom = tau(card, [1, 2, 4, 3]), tau(card, [2, 1, 3, 4])
    assert kendalltau([1, 2, 4, 3], [1, 2, 3, 4]).statistic == kendalltau([2, 1, 3, 4], [1, 2, 3, 4]).statistic
    assert top < bottom  # a mistake at the top costs more
    assert regret(card, [1, 2, 4, 3]) == pytest.approx(0.1) and regret(card, [0, 0, 0, 1]) == 0
    assert mean_rank(card)[0] > mean_rank(card)[3]


def test_goals_met_and_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results_select, "CARDS", tmp_path)
    assert results_select.section() == ""
    write_json(tmp_path / "1.json", _card("seen before", [3, 2, 1], [0.9, 0.8, 0.7], pilot=True))
    write_json(tmp_path / "2.json", _card("blind", [3, 2, 1], [0.9, 0.8, 0.7]))
    text = results_select.section()
    assert "3 sources, 1 problems and 1 pilot," in text
    first = "| **probe, likelihood** (the default) | 1.00 | 1.00 | 0.00 | 0.00 | 1.00 | 0.00 | 1.00 |"
    assert f"{first} tau of at least 0.6 met" in text
    assert "| LogME | -1.00 | -1.00 | 20.00 | 20.00 | -1.00 | 20.00 | -1.00 |" in text
    assert "| random | 0.00 | | 10.00 |" in text.replace("|  |", "| |")
    assert "| a | **90.0** ← | **90.0** ← |" in text
    write_json(tmp_path / "2.json", _card("blind", [4, 3, 2, 1], [0.9, 0.8, 0.7, 0.6], own=True))
    assert "| LogME | -1.00 | -1.00 | 30.00 | 30.00 | -1.00 | 20.00 |" in results_select.section()
    write_json(tmp_path / "2.json", _card("blind", [1, 2, 3], [0.9, 0.8, 0.88]))
    lost = results_select.section()
    assert "tau of at least 0.6 **lost**, regret of at most 1 point **lost**" in lost
