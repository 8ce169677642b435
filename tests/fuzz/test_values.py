"""Some values of any kind, always the same; `make fuzz` draws others, and more."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.fuzz.values import NAMES, checks, tried


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", NAMES)
def test_any_value_is_read_for_what_it_is_or_refused(name: str, tmp_path: Path) -> None:
    tried(name, tmp_path / "it", seed=11, count=25)


def test_values_are_drawn_after_a_training_in_the_same_process(tmp_path: Path) -> None:
    torch.set_flush_denormal(True)
    tried(NAMES[1], tmp_path / "it", seed=11, count=5)


def test_every_check_is_tried(tmp_path: Path) -> None:
    assert tuple(checks(tmp_path / "it")) == NAMES


def test_what_is_wrong_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.values.parse_params", lambda document, where: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tried(NAMES[0], tmp_path / "it", seed=11, count=5)
