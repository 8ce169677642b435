"""The files of a model version, which come from outside: within limits, and no link is followed."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from seam.errors import ProvenanceError

MOST_FILES, MOST_BYTES, DEEPEST = 1_000, 8 * 2**30, 8
"""Of one version: files, bytes in all, folders one in another."""


def files_in(folder: Path) -> dict[str, Path]:
    """Every file below a folder, by its path from there with `/` between, sorted.

    Raises:
        ProvenanceError: no folder, a link or anything else that is no plain file, or more than the limits.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise ProvenanceError(f"{folder}: expected the folder of a model version, got {_kind(folder)}.")
    found: dict[str, Path] = {}
    size, waiting = 0, [(folder, 0)]
    while waiting:
        inner, depth = waiting.pop()
        for entry in os.scandir(inner):
            path = Path(entry.path)
            about = entry.stat(follow_symlinks=False)
            if entry.is_dir(follow_symlinks=False):
                waiting.append((path, depth + 1))
            elif stat.S_ISREG(about.st_mode):
                found[path.relative_to(folder).as_posix()] = path
                size += about.st_size
            else:
                raise ProvenanceError(f"{path}: expected a file, got {_kind(path)}, which is not followed.")
        check_limits(folder, len(found), size, depth)
    return dict(sorted(found.items()))


def check_limits(where: Path | str, files: int, size: int, depth: int) -> None:
    """Raise a ProvenanceError beyond what a version may have."""
    if files > MOST_FILES or size > MOST_BYTES or depth > DEEPEST:
        raise ProvenanceError(
            f"{where}: expected at most {MOST_FILES:,} files of {MOST_BYTES / 2**30:.0f} GiB in all, {DEEPEST} folders"
            f" deep, got more ({files:,} files, {size:,} bytes, {depth} deep)."
        )


def read_limited(path: Path, most: int) -> bytes:
    """The content of a file.

    Raises:
        ProvenanceError: not there, or more bytes than `most`.
    """
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as e:
        raise ProvenanceError(f"{path.name}: expected a file, got {type(e).__name__}.") from e
    if len(content) > most:
        raise ProvenanceError(f"{path.name}: expected at most {most:,} bytes, got more.")
    return content


def sha256_of(content: bytes) -> str:
    """As 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def _kind(path: Path) -> str:
    if path.is_symlink():
        return "a link"
    if path.is_dir():
        return "a folder"
    return "a file" if path.is_file() else "something else" if path.exists() else "nothing"
