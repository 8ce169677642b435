"""Files are written whole or not at all, and what a killed process was writing goes with the next run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from seam.files import drop_unwritten, unfinished, write_bytes, written
from tests.defaults import ROOT

KILLED = """
import os, signal, sys
from pathlib import Path
from seam.files import written
with written(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_write_that_fails_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    write_bytes(path, b"good")
    with pytest.raises(TypeError), written(path) as file:
        file.writelines([b"half", None])  # type: ignore[list-item]
    assert path.read_bytes() == b"good" and list(path.parent.iterdir()) == [path]


def test_what_a_killed_process_was_writing_is_removed_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    write_bytes(path, b"good")
    subprocess.run([sys.executable, "-c", KILLED, path], cwd=ROOT, check=False)
    (left,) = (file for file in tmp_path.iterdir() if file != path)
    assert left.read_bytes() == b"half" and path.read_bytes() == b"good"
    others = [unfinished(path), tmp_path / ".a.lock.elsewhere-1.tmp", tmp_path / "mine.tmp", tmp_path / ".a.lock.tmp"]
    for other in others:
        other.write_bytes(b"")
    drop_unwritten(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([path, *others])
    drop_unwritten(tmp_path / "nothing")
