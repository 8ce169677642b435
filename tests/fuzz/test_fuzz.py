"""Some hundreds of damaged inputs of every kind, always the same; `make fuzz` tries thousands of others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from seam.errors import DataError
from tests.fuzz.fuzz import NAMES, again, begun
from tests.fuzz.judge import Case, Verdict, judged
from tests.fuzz.mutate import damaged_bytes, damaged_text, damaged_values
from tests.fuzz.targets import TARGETS, Target

SEED = 20_261
EACH = 18
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", NAMES)
def test_damaged_inputs_are_read_as_others_read_them_or_refused_in_one_line(name: str, tmp_path: Path) -> None:
    case = begun(name, tmp_path / "it")
    found = {number: case.tried(SEED, number) for number in range(EACH)}
    wrong = [f"{v.outcome[:2000]}\n  {again(name, SEED, number)}" for number, v in found.items() if v.is_wrong]
    assert not wrong, "\n".join(wrong)
    assert {verdict.outcome for verdict in found.values()} <= {"read", "refused"}
    assert any(verdict.outcome == "refused" for verdict in found.values()), "nothing was damaged"


def planted(read: Callable[[Path], Any], tmp_path: Path, **more: Any) -> Verdict:
    """The verdict on a reader that is wrong in some way."""

    def make(folder: Path) -> Path:
        (folder / "x").write_text("good")
        return folder / "x"

    with pytest.MonkeyPatch.context() as changed:
        changed.setitem(TARGETS, "planted", Target(make, read, **more))  # type: ignore[arg-type]
        return Case("planted", tmp_path).tried(0, 0)


def good_or(bad: Callable[[Path], Any]) -> Callable[[Path], Any]:
    return lambda path: "good" if path.read_bytes() == b"good" else bad(path)


def stray(path: Path) -> Any:
    path.with_name("y").write_text("half")
    raise DataError("bad")


def fails(error: Exception) -> Callable[[Path], Any]:
    def bad(path: Path) -> Any:
        raise error

    return bad


def large(path: Path) -> Any:
    bytearray(800 << 20)
    raise DataError("too large")


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (fails(ZeroDivisionError("a bug")), "ZeroDivisionError: a bug"),
        (fails(DataError("two", also=["lines"])), "not one line"),
        (fails(DataError("")), "not one line"),
        (lambda path: "another", "read as something else"),
        (stray, "other files than before"),
        (large, "MiB of memory"),
    ],
)
def test_what_is_wrong_is_found(bad: Callable[[Path], Any], said: str, tmp_path: Path) -> None:
    verdict = planted(good_or(bad), tmp_path)
    assert verdict.is_wrong and said in verdict.outcome


def test_what_hangs_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.judge.MOST_SECONDS", 1)

    def forever() -> str:
        while True:
            pass

    assert "not back within 1 s" in judged(forever, tmp_path).outcome


def test_what_is_right_is_right(tmp_path: Path) -> None:
    assert planted(good_or(fails(DataError("bad: mend it."))), tmp_path / "a").outcome == "refused"
    (tmp_path / "b").mkdir()
    read = planted(Path.read_bytes, tmp_path / "b", truth=Path.read_bytes)
    assert read.outcome == "read"


@pytest.mark.parametrize("damage", [damaged_bytes, damaged_text])
def test_damage_is_the_same_for_the_same_draw_and_changes_something(damage: Any) -> None:
    content = b"key: value\nother:\n  - 1\n  - 2\n" * 20
    made = [damage(content, Random(number)) for number in range(200)]
    assert made == [damage(content, Random(number)) for number in range(200)]
    assert len(set(made)) > 150 and sum(m == content for m in made) < 20


def test_values_are_damaged_at_every_depth() -> None:
    content = {"a": {"b": [1, {"c": 2}]}, "d": 3}
    made = [repr(damaged_values(content, Random(number))) for number in range(400)]
    assert any("'d': 3" not in m for m in made) and any("'c': 2" not in m and "'d': 3" in m for m in made)
    assert sum(m == repr(content) for m in made) < 20  # a value that is drawn may be the one that was there
