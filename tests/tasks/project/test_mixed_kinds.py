"""Truth values are no numbers, and numbers no truth values, wherever parameters are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seam.errors import ConfigError
from tasks.project.params import load_params, parse_params
from tasks.tracking.policy import load_policy
from tests.defaults import POLICY, write_params

PROBLEMS = {"a": ["x"]}


@pytest.mark.parametrize(
    ("section", "values", "said"),
    [
        ("search", {"alpha": True}, "search.alpha: expected a number, got true"),
        ("search", {"max_rounds": False}, "search.max_rounds: "),
        ("data", {"drop_copies": 1}, "data.drop_copies: expected true or false, got 1"),
        ("data", {"image_size": True}, "data.image_size"),
        (
            "benchmark_latency",
            {"batch_sizes": [1, True]},
            "benchmark_latency.batch_sizes[1]: expected a number",
        ),
        ("prepare_source", {"mean": [True], "std": [0.5]}, "prepare_source.mean[0]: expected a number, got true"),
    ],
)
def test_the_other_kind_is_refused(section: str, values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_params({"problems": PROBLEMS, section: values}, "params.yaml")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_seed_is_a_number() -> None:
    with pytest.raises(ConfigError, match=r"params\.yaml: seed: expected a number, got true"):
        parse_params({"problems": PROBLEMS, "seed": True}, "params.yaml")


def test_the_right_kind_is_read(tmp_path: Path) -> None:
    path = write_params(tmp_path / "params.yaml", search={"alpha": 1}, data={"drop_copies": True})
    params = load_params(path)
    assert params.search.alpha == 1 and params.data.drop_copies is True


def test_classes_may_be_called_true_or_1() -> None:
    assert parse_params({"problems": {"a": [True, 1, "on"]}}, "params.yaml").problems["a"]


def test_a_gate_is_a_number(tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text(POLICY.replace("at_most: 0.005", "at_most: true"))
    with pytest.raises(ConfigError, match=r"gates\.accuracy_drop\.at_most: expected a number, got true"):
        load_policy(path)
    path.write_text(POLICY.replace("above_chance: false", "above_chance: 0"))
    with pytest.raises(ConfigError, match=r"evidence\.above_chance: expected true or false, got 0"):
        load_policy(path)


def test_a_value_of_thousands_of_letters_is_not_repeated() -> None:
    with pytest.raises(ConfigError, match=r"data\.exif: Input should be 'ignore' or 'apply', got 'xxx") as caught:
        parse_params({"problems": PROBLEMS, "data": {"exif": "x" * 5000}}, "params.yaml")
    assert len(str(caught.value)) < 1_500
