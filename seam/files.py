"""Whole files or none: every write goes to a temporary name in the same folder, is flushed, then renamed."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import platform
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from seam.errors import DamagedFileError

SMALL = 1 << 30
"""Bytes that anybody may ask for."""
MOST_JSON = 1 << 26
"""Bytes of a JSON file that is read; what is written here is far smaller."""


_HOST = platform.node()


def unfinished(path: Path) -> Path:
    """Where this process writes a file before it puts it in its place."""
    return path.with_name(f".{path.name}.{_HOST}-{os.getpid()}.tmp")


@contextmanager
def written(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to in the block, which is then put in the place of `path` in one step; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = unfinished(path)
    try:
        with temporary.open("wb") as f:
            yield f
            f.flush()
            os.fsync(f.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def drop_unwritten(folder: Path) -> None:
    """Remove what processes of this machine were writing in a folder when they were killed; there may be none."""
    for left in folder.glob(f".*.{_HOST}-*.tmp"):
        pid = left.name.removesuffix(".tmp").rpartition("-")[2]
        if pid.isdecimal() and not _is_there(int(pid)):
            left.unlink(missing_ok=True)


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return True


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically, making its folder if needed."""
    with written(path) as f:
        f.write(content)


def write_text(path: Path, content: str) -> None:
    """Write text (UTF-8) atomically."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object atomically, indented, keys in the given order."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table atomically; keys of a row that are not columns are left out."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read what `write_csv` wrote, numbers as numbers."""
    with path.open(newline="") as f:
        return [{k: _number(v) for k, v in row.items()} for row in csv.DictReader(f)]


class Fields(dict[str, Any]):
    """A JSON object that was read from a file; a key that it lacks is named with the file."""

    path: Path | None = None

    def __missing__(self, key: str) -> Any:
        where = self.path or "JSON"
        raise DamagedFileError(f"{where}: expected '{key}' in it, got none", hint="rerun_producer", path=self.path)


def read_json(path: Path, most_bytes: int = MOST_JSON) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        OSError: it cannot be opened.
        DamagedFileError: it is no such object, or larger or deeper than what is written here; later,
            for a key that it lacks.
    """
    with path.open("rb") as f:
        content = f.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise DamagedFileError(
            f"{path}: expected at most {most_bytes:,} bytes of JSON, got more", hint="rerun_producer", path=path
        )
    return parse_json(content, path)


def parse_json(content: bytes | str, path: Path) -> dict[str, Any]:
    """The JSON object in part of a file, as `read_json`."""

    def fields(pairs: list[tuple[str, Any]]) -> Fields:
        made = Fields(pairs)
        made.path = path
        return made

    try:
        found = json.loads(content, object_pairs_hook=fields)
    except (ValueError, RecursionError) as e:
        raise DamagedFileError(
            f"{path}: expected JSON, got {' '.join(str(e).split())[:200]}", hint="rerun_producer", path=path
        ) from e
    if not isinstance(found, Fields):
        raise DamagedFileError(
            f"{path}: expected a JSON object, got a {type(found).__name__}", hint="rerun_producer", path=path
        )
    return found


def beside(file: Path, name: str) -> Path:
    """Where a file says that another one of its folder is.

    Links are followed only to where `file` itself lies, as in a cache that shows its files by links.

    Raises:
        DamagedFileError: it leads out of the folder, or is no plain file.
    """
    found = file.parent / name
    homes = (file.parent.resolve(), file.resolve().parent)
    if not any(found.resolve().is_relative_to(home) for home in homes):
        raise DamagedFileError(f"{file}: names '{name[:200]}', which leads out of its folder; put the file there.")
    if found.exists() and not found.is_file():
        raise DamagedFileError(f"{file}: names '{name[:200]}', expected a plain file there.")
    return found


def check_archive(archive: zipfile.ZipFile, path: Path | str, most_ratio: int) -> None:
    """Raise a DamagedFileError for a zip archive that says it becomes far larger than it is.

    Args:
        archive: open.
        path: names it in errors.
        most_ratio: times its entries' bytes in the file, that they may take unpacked; `SMALL` bytes always may.
    """
    entries = archive.infolist()
    packed, unpacked = sum(e.compress_size for e in entries), sum(e.file_size for e in entries)
    if unpacked > max(SMALL, packed * most_ratio):
        raise DamagedFileError(
            f"{path}: expected an archive that takes at most {most_ratio} times its size unpacked, got {packed:,} bytes"
            f" that become {unpacked:,}; write it again uncompressed."
        )


def check_sums(archive: zipfile.ZipFile) -> None:
    """Raise a ValueError where an entry of a zip archive is not what its checksum is of.

    Nothing is said where none is: there are writers that leave checksums out.
    """
    whole, changed = 0, []
    for entry in archive.infolist():
        try:
            with archive.open(entry) as content:
                while content.read(1 << 20):
                    pass
            whole += bool(entry.file_size)
        except zipfile.BadZipFile:
            changed.append(entry.filename)
    if whole and changed:
        raise ValueError(f"{changed[0]} in it is not what its checksum is of")


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"True": True, "False": False}.get(text, text)
