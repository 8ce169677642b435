"""Locks of a project a stage at a time.

DVC parses the whole of a dvc.lock for every stage that it loads, and again, slowly, for every stage
that it records. Here a stage's section is found in the text, parsed when it is asked for, and
replaced alone: the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from seam.errors import CacheError, words
from tasks.project.lock_text import check_merged, split, write_sections
from tasks.project.subject import Address


def damaged(path: Path, error: BaseException) -> CacheError:
    """What to say of a dvc.lock that is not as DVC writes it."""
    return CacheError(
        f"{path}: expected what DVC records, got something else ({words(error)}); restore it from version control, or"
        " remove it: stages are then looked for in DVC's cache."
    )


def stage_in(stages: Mapping[str, Any], name: str, lock: Path) -> Any:
    """One of DVC's stages, whose lock may be damaged.

    Raises:
        CacheError: it is.
    """
    try:
        return stages[name]
    except (
        TypeError,
        KeyError,
        ValueError,
        AttributeError,
        AssertionError,
    ) as e:  # DVC takes a section for what it should be
        raise damaged(lock, e) from e


class LockSections(Mapping[str, Any]):
    """What one dvc.lock records of each stage by its name, as the file is now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_at: tuple[int, int] | None = None
        self._texts: dict[str, str] = {}
        self._foreign = ""
        """The whole text where it is not laid out as DVC does it."""
        self._parsed: dict[str, tuple[str, Any]] = {}

    def refresh(self) -> None:
        """Read the file again if it has changed."""
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            self._read_at, self._texts, self._foreign = None, {}, ""
            return
        if (stat.st_mtime_ns, stat.st_size) != self._read_at:
            try:
                text = self._path.read_text(encoding="utf-8")
            except (UnicodeDecodeError, IsADirectoryError) as e:
                raise damaged(self._path, e) from e
            sections = split(text)
            self._texts, self._foreign = sections or {}, text if sections is None else ""
            self._read_at = (stat.st_mtime_ns, stat.st_size)

    def text_of(self, stage: str) -> str:
        """The section of a stage as it stands in the file, empty where there is none; all of one laid out otherwise."""
        return self._foreign or self._texts.get(stage, "")

    def write(self, stage: str, section: str) -> bool:
        """Put a section in its place, or at the end, atomically.

        Returns:
            Whether that was possible; False: the file is not as DVC writes it, and left alone.
        """
        self.refresh()
        if self._foreign:
            return False
        if self._texts.get(stage) != section:
            self._texts[stage] = section
            write_sections(self._path, self._texts)
            stat = self._path.stat()
            self._read_at = (stat.st_mtime_ns, stat.st_size)
        return True

    def __getitem__(self, stage: str) -> Any:
        if self._foreign:
            return self._whole()[stage]
        return self._parse(stage, self._texts[stage])[stage]

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole() if self._foreign else self._texts)

    def __len__(self) -> int:
        return len(self._whole() if self._foreign else self._texts)

    def _whole(self) -> Mapping[str, Any]:
        check_merged(self._path, self._foreign)
        stages: Mapping[str, Any] = self._parse("", self._foreign).get("stages", {})
        return stages

    def _parse(self, name: str, text: str) -> Any:
        """Parsed once for its text."""
        known = self._parsed.get(name)
        if known is None or known[0] != text:
            from dvc.utils.serialize import parse_yaml  # DVC takes a second to import; where nothing changed it is not

            known = self._parsed[name] = (text, parse_yaml(text, str(self._path)))
        return known[1]


class Locks:
    """Every dvc.lock of a project, each read when it is asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files: dict[str, LockSections] = {}

    def of(self, stage: Address) -> LockSections:
        """The lock that records a stage, as it is now."""
        found = self._files.get(stage.lock)
        if found is None:
            found = self._files[stage.lock] = LockSections(self._root / stage.lock)
        found.refresh()
        return found
