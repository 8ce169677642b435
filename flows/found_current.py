"""Stages that DVC found current, and how every file was that decided it.

While all are as they were, a stage is current still: a few `stat` calls, where asking DVC means
parsing its files and looking each file up. Anything else is for DVC to say.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from seam.files import write_text


class FoundCurrent:
    """Of one project; kept in .dvc/tmp, where nothing is shared with other clones."""

    def __init__(self, root: Path) -> None:
        self._path = root / ".dvc" / "tmp" / "found_current.json"
        self._root = f"{root}{os.sep}"
        self._known: dict[str, Any] = {}
        self._changed = False
        self._saved = 0.0
        with contextlib.suppress(OSError, ValueError):
            self._known = json.loads(self._path.read_bytes())

    def holds(self, stage: str, basis: str) -> bool:
        """Whether DVC found the stage current on this basis, and no file has changed since.

        Args:
            stage: its name in DVC.
            basis: a digest of everything else that decides: its section of the lock, its dvc.yaml, the parameters.
        """
        known = self._known.get(stage)
        return known is not None and known["basis"] == basis and known["state"] == self.state_of(known["paths"])

    def basis_of(self, stage: str) -> str:
        """The basis that was noted last; empty where none was."""
        return str(self._known.get(stage, {}).get("basis", ""))

    def state_of(self, paths: Iterable[str]) -> str:
        """A digest of size, time and place of files, and of all files in folders; paths relative to the project."""
        total = hashlib.sha256()
        for path in paths:
            for line in _states(path if path.startswith(os.sep) else self._root + path):
                total.update(line.encode())
        return total.hexdigest()[:24]

    def relative(self, paths: Iterable[str]) -> list[str]:
        """Paths as they are kept: short, where they are in the project."""
        return [path.removeprefix(self._root) for path in paths]

    def note(self, stage: str, basis: str, paths: list[str], state: str) -> None:
        """Keep that DVC found the stage current when its files were in this state."""
        self._known[stage] = {"basis": basis, "state": state, "paths": paths}
        self._changed = True

    def forget(self, stage: str) -> None:
        """It is about to change."""
        self._changed |= self._known.pop(stage, None) is not None

    def save(self, every: float = 0.0) -> None:
        """Write what was noted, unless that was done less than `every` seconds ago.

        A project that cannot be written to is asked about each time.
        """
        if not self._changed or time.monotonic() - self._saved < every:
            return
        self._saved = time.monotonic()
        try:
            write_text(self._path, json.dumps(self._known))
            self._changed = False
        except OSError:
            return


def _states(path: str) -> Iterator[str]:
    try:
        stat = os.stat(path)  # noqa: PTH116  of thousands of files
    except OSError:
        yield f"{path} none\n"
        return
    if not os.path.isdir(path):  # noqa: PTH112
        yield f"{path} {stat.st_mtime_ns} {stat.st_size} {stat.st_ino}\n"
        return
    for entry in sorted(os.scandir(path), key=lambda e: e.name):
        yield from _states(entry.path)


def content_of(path: Path) -> bytes:
    """Of a small file that is asked for often, read once for its time and size; nothing where there is none."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return b""
    return _content(str(path), stat.st_mtime_ns, stat.st_size)


def digest_of(path: Path) -> str:
    """Of such a file."""
    return _digest(content_of(path))


@lru_cache(maxsize=2048)
def _content(path: str, _time: int, _size: int) -> bytes:
    return Path(path).read_bytes()


@lru_cache(maxsize=2048)
def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
