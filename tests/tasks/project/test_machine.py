"""What the machine does not let a stage write is one line that says why, whatever it was about."""

from __future__ import annotations

import errno
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tasks.project.machine import refusal, why_not


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "search: the disk is full ("),
        (errno.EDQUOT, "search: out.bin cannot be read or written: the quota is used up;"),
        (errno.EFBIG, "search: out.bin cannot be read or written: no file may be so large here (ulimit -f"),
        (errno.EROFS, "search: out.bin cannot be read or written: it is read-only;"),
        (errno.EACCES, "search: out.bin cannot be read or written: this account may not;"),
    ],
)
def test_it_is_one_line(number: int, said: str, tmp_path: Path) -> None:
    line = refusal(OSError(number, "words of the system", "out.bin"), "search", tmp_path)
    assert line is not None and line.startswith(said) and "\n" not in line
    assert line.endswith("run again, finished stages are kept.") and "out.bin" in line


def test_a_database_that_cannot_be_written_is_one_line_too(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("CREATE TABLE a (b TEXT)")
        connection.execute("PRAGMA max_page_count = 3")
        with pytest.raises(sqlite3.Error) as full:
            connection.execute("INSERT INTO a VALUES (?)", ("x" * 100_000,))
    assert why_not(full.value) == "the disk is full"
    with (
        closing(sqlite3.connect(f"file:{tmp_path / 'a.db'}?mode=ro", uri=True)) as connection,
        pytest.raises(sqlite3.Error) as shut,
    ):
        connection.execute("INSERT INTO a VALUES ('x')")
    assert why_not(shut.value) == "it is read-only"
    with pytest.raises(sqlite3.Error) as nowhere:
        sqlite3.connect(tmp_path / "no" / "a.db")
    assert "cannot be opened" in str(refusal(nowhere.value, "seam", tmp_path))
    with closing(sqlite3.connect(":memory:")) as connection, pytest.raises(sqlite3.Error) as wrong:
        connection.execute("SELECT nothing")
    assert why_not(wrong.value) is None


def test_a_library_that_says_so_in_words_of_its_own(tmp_path: Path) -> None:
    assert why_not(OSError("write failed: No space left on device")) == "the disk is full"


def test_what_is_no_matter_of_the_machine_is_left_alone(tmp_path: Path) -> None:
    assert refusal(FileNotFoundError(errno.ENOENT, "no", "x"), "search", tmp_path) is None
    assert why_not(ConnectionError("gone")) is None
