"""The page of results says of every kind of search what it did."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from seam.configs.search import SearchConfig

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from results_page import said_search

ONE_PASS = {"structure": "channels", "method": "one_pass", "target": 0.4, "accuracy_floor": 0.0}
TIMED = {"engine": "openvino", "batch_size": 8, "num_threads": 1}


@pytest.mark.parametrize(
    ("search", "channels", "said"),
    [
        ({"max_rounds": 8}, None, "`budget` to 0.05 of the weights in 8 rounds, batch 64"),
        (
            {"structure": "channels", "cost": "macs", "target": 0.3, "max_rounds": 8},
            None,
            "`budget` to 0.3 of the multiply-adds in 8 rounds, batch 64, whole channels in blocks of 16",
        ),
        (
            {**ONE_PASS, "cost": "milliseconds", "layouts": 4},
            TIMED,
            "`one_pass` to 0.4 of the time on openvino (batch 8, 1 thread(s)), the best of at most 4 layouts, 1"
            " epoch(s) each, batch 64, whole channels in blocks of 16",
        ),
        (
            {**ONE_PASS, "cost": "macs"},
            {},
            "`one_pass` to 0.4 of the multiply-adds, the first layout, batch 64, whole channels in blocks of 16",
        ),
        (
            {**ONE_PASS, "structure": "hybrid", "cost": "macs", "target": 0.1, "max_rounds": 9},
            {},
            "`one_pass` to 0.5 of the multiply-adds, the first layout, batch 64, whole channels in blocks of 16; then"
            " single weights by `budget` to 0.1 of the multiply-adds in 8 rounds",
        ),
    ],
)
def test_a_search_in_words(search: dict[str, Any], channels: dict[str, Any] | None, said: str) -> None:
    assert said_search(asdict(SearchConfig(**search)), channels) == said
