"""dvc.lock a stage at a time: the same text as DVC's own, and files that are laid out otherwise are left to DVC."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.dvc_stages import clear_errors
from flows.lock_sections import LockSections
from seam.errors import CacheError
from tasks.project.lock_text import split

A, B = "  a:\n    cmd: run a\n    deps:\n    - path: x\n", "  search@b-0:\n    cmd: run b\n"
TEXT = f"schema: '2.0'\nstages:\n{A}{B}"


@pytest.fixture
def lock(tmp_path: Path) -> LockSections:
    (tmp_path / "dvc.lock").write_text(TEXT)
    sections = LockSections(tmp_path / "dvc.lock")
    sections.refresh()
    return sections


def test_sections_are_found_and_parsed_alone(lock: LockSections) -> None:
    assert split(TEXT) == {"a": A, "search@b-0": B} and list(lock) == ["a", "search@b-0"] and len(lock) == 2
    assert lock["a"] == {"cmd": "run a", "deps": [{"path": "x"}]}
    assert lock.text_of("search@b-0") == B and lock.text_of("c") == "" and "c" not in lock
    assert lock.get("c", {}) == {}


def test_a_section_is_put_in_its_place_or_at_the_end(lock: LockSections, tmp_path: Path) -> None:
    other = A.replace("run a", "run other")
    assert lock.write("a", other) and lock.write("c", "  c:\n    cmd: run c\n")
    assert (tmp_path / "dvc.lock").read_text() == f"schema: '2.0'\nstages:\n{other}{B}  c:\n    cmd: run c\n"
    assert lock["a"]["cmd"] == "run other"


def test_what_another_process_writes_is_seen_and_kept(lock: LockSections, tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text(TEXT + "  d:\n    cmd: run d\n")
    assert lock.write("a", A.replace("run a", "again"))
    assert "run d" in (tmp_path / "dvc.lock").read_text() and lock["d"] == {"cmd": "run d"}
    (tmp_path / "dvc.lock").unlink()
    lock.refresh()
    assert len(lock) == 0 and lock.write("a", A)
    assert (tmp_path / "dvc.lock").read_text() == f"schema: '2.0'\nstages:\n{A}"


@pytest.mark.parametrize(
    "text",
    [
        "stages:\n  a:\n    cmd: x\n",
        TEXT + "datasets:\n- name: d\n",
        TEXT.replace("  a:", "  'a':"),
        TEXT.replace("  a:", "  ? a\n  :"),
        TEXT.replace("  a:", "<<<<<<< HEAD\n  a:"),
        TEXT.replace("  a:", "  # by hand\n  a:"),
        TEXT.rstrip("\n"),
    ],
)
def test_another_layout_is_not_taken_apart(text: str) -> None:
    assert split(text) is None


def test_another_layout_is_parsed_whole_and_never_written(tmp_path: Path) -> None:
    text = TEXT.replace("  a:", "  'a':")
    (tmp_path / "dvc.lock").write_text(text)
    lock = LockSections(tmp_path / "dvc.lock")
    lock.refresh()
    assert lock["a"]["cmd"] == "run a" and len(lock) == 2 and list(lock) == ["a", "search@b-0"]
    assert not lock.write("a", A) and (tmp_path / "dvc.lock").read_text() == text
    before = lock.text_of("a")
    (tmp_path / "dvc.lock").write_text(text.replace("run a", "run other"))
    lock.refresh()
    assert lock.text_of("a") != before


def test_half_a_file_is_an_error_of_one_line_when_it_is_read(tmp_path: Path) -> None:
    """As DVC leaves it while it writes."""
    (tmp_path / "dvc.lock").write_text(TEXT + "  c:\n    cmd: 'run")
    lock = LockSections(tmp_path / "dvc.lock")
    lock.refresh()
    assert lock.text_of("a") == TEXT + "  c:\n    cmd: 'run"
    with pytest.raises(CacheError, match=r"dvc\.lock") as caught, clear_errors("a"):
        lock["a"]
    assert "\n" not in str(caught.value)
