"""The section on modules says what was measured, and which of the claims that loses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from seam.files import write_json

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import results_modules
from results_modules import JUDGES, SECTIONS


def _way(test: float, kernels: float) -> dict[str, float]:
    sizes = {"kernels": kernels, "params": kernels, "macs": kernels, "composed_macs": 5.0, "composed_ms": 6.0}
    return {"test": test, **sizes, "jaccard": 0.5, "cpu_seconds": 3.0}


def _class(f1: float, rest: float) -> dict[str, float]:
    return {"precision": 0.5, "recall": f1, "f1": f1, "rest": rest}


def _claims(good: bool) -> dict[str, Any]:
    ways = {"gradsplitter": _way(0.90 if good else 0.89, 0.4), "cnnsplitter": _way(0.8, 0.55 if good else 0.45)}
    ways["gradsplitter, small"] = ways["gradsplitter"]
    after = _class(0.65, 0.9) if good else _class(0.55, 0.9)
    mended = {"class": "a", "accepted": True, "before": _class(0.5, 0.9), "after": after, "own_score_alone": after}
    each = {"source": 1.0, "composed": 0.5, "reengineered": 0.25}
    return {
        "one_source": {"source": {"test": 0.9, "cpu_seconds": 9.0}, "ways": ways},
        "weak_sources": {
            "single": [0.7, 0.8, 0.75],
            "single_read_anew": [0.7, 0.82, 0.75],
            "averaged": 0.85,
            "composed": 0.81 if good else 0.79,
        },
        "patch": {"starved": mended},
        "new_task": {
            "classes": ["a", "b"],
            "composed": 0.9,
            "scratch": 0.905 if good else 0.92,
            "cpu_seconds": {"composed": 1.0, "scratch": 60.0, "modules": 20.0},
        },
        "some_classes": {
            "test": each,
            "params": dict.fromkeys(each, 100000.0),
            "macs": dict.fromkeys(each, 1000000.0),
            "ms": each,
            "conditions": {"engine": "onnxruntime", "batch_size": 16},
            "cpu_seconds": {"composed": 1.0, "reengineered": 30.0},
        },
    }


def _card(claims: dict[str, Any]) -> dict[str, Any]:
    images = {"train": 800, "val": 200, "test": 500}
    about = {"data": "digits", "architecture": "vgg", "seed": 2, "epochs": 3, "side": 8, "images": images}
    return {**about, "claims": claims}


GOOD = ("+0.00 points", "27.3% fewer kernels", "better on 1 of 1", "f1 +15.00", "-0.50 points", "1.0 s against 60.0 s")
BAD = ("-1.00 points", "11.1% fewer kernels", "better on 0 of 1", "f1 +5.00", "-2.00 points", "1.0 s against 60.0 s")


@pytest.mark.parametrize(("good", "said"), [(True, GOOD), (False, BAD)])
def test_claimed_beside_measured(
    good: bool, said: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results_modules, "CARDS", tmp_path)
    assert results_modules.section() == ""
    write_json(tmp_path / "a.json", _card(_claims(good)))
    text = results_modules.section()
    assert all(part in text for part in said), text
    rows = [line for line in text.split("\n") if "| met |" in line or "| **lost** |" in line]
    verdicts = ["linear layer on its" not in row and ("met" in row) == good for row in rows]
    assert len(rows) == 7 and sum(verdicts) == 6, rows  # against the one with a linear layer it is lost in both


def test_a_card_that_grows_shows_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert JUDGES.keys() <= SECTIONS.keys() == _claims(True).keys()
    monkeypatch.setattr(results_modules, "CARDS", tmp_path)
    for claim, found in _claims(True).items():
        write_json(tmp_path / "a.json", _card({claim: found}))
        assert all((f"| {name}" in results_modules.section()) == (own == claim) for own, name in HEADS.items())


HEADS = {
    "one_source": "one source |",
    "weak_sources": "weak sources |",
    "patch": "patch |",
    "new_task": "new task |",
    "some_classes": "three classes |",
}
