"""benchmarks/reproduce_rq1.py on a few images, through the real stages: cards, page, and what a second run does again."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from seam.errors import ConfigError
from seam.files import read_json

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import reproduce_rq1
import results_page

SMALL = (
    *("data.kind=npz", "prepare_source.checkpoint=null", "prepare_source.expected_accuracy=null", "prepare_source.epochs=1", "data.min_images_per_class=2"),
    *("search.max_rounds=2", "evaluate.adapt_epochs=1", "evaluate.retrain_epochs=1", "benchmark_latency.engines=[onnxruntime]", "benchmark_latency.repeats=10"),
    *("runtime.threads=1", "split_dataset.val_fraction=0.25"),
)


@pytest.fixture
def overrides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three classes of noise, each of another brightness; cards and page go to the test's folder."""
    rng = np.random.default_rng(0)
    labels = {"train": np.arange(48) % 3, "test": np.arange(12) % 3}
    images = {k: (rng.integers(0, 80, (len(y), 16, 16, 3)) + 80 * y[:, None, None, None]).astype(np.uint8) for k, y in labels.items()}
    arrays = {f"x_{k}": v for k, v in images.items()} | {f"y_{k}": v for k, v in labels.items()}
    np.savez(tmp_path / "three.npz", **arrays, classes=np.array(["dark", "grey", "light"]))
    monkeypatch.setattr(reproduce_rq1, "WORK", tmp_path / "work")
    for module in (reproduce_rq1, results_page):
        monkeypatch.setattr(module, "CARDS", tmp_path / "cards")
    monkeypatch.setattr(results_page, "PAGE", tmp_path / "results.md")
    return [*SMALL, f"data.path={tmp_path / 'three.npz'}"]


@pytest.mark.slow
def test_a_problem_gives_a_card_and_a_row_and_is_not_computed_twice(overrides: list[str], tmp_path: Path) -> None:
    reproduce_rq1.reproduce("cifar10", ["grey"], 0, overrides)
    card = read_json(tmp_path / "cards" / "cifar10-grey-seed0.json")
    assert card["weights"]["reengineered"] == pytest.approx(0.11 * card["weights"]["original"], rel=1e-3)
    assert {"source", "reengineered", "head_only", "restricted", "random_mask", "retrained"} <= set(card["accuracy"])
    assert card["latency_ms_batch16"]["onnxruntime"]["source"] > 0
    assert str(tmp_path) not in str(card)
    results_page.render()
    page = (tmp_path / "results.md").read_text()
    assert "| grey | 89.0" in page
    assert "*paper, ResNet20, mean of 10*" in page
    made = tmp_path / "work" / "cifar10-seed0" / "artifacts" / "grey" / "search" / "mask.safetensors"
    before = made.stat().st_mtime_ns
    reproduce_rq1.reproduce("cifar10", ["grey"], 0, overrides)
    assert made.stat().st_mtime_ns == before


def test_an_unknown_problem_is_one_clear_line(overrides: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"--problems boat: expected problems of cifar10: dark, grey, light\."):
        reproduce_rq1.prepare(reproduce_rq1.WORK / "x", "cifar10", ["boat"], 0, overrides)
