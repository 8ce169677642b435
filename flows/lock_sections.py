"""dvc.lock a stage at a time.

DVC parses the whole file for every stage that it loads, and again, slowly, for every stage that it
records, so that the cost of a run grew with the square of the number of stages. Here a stage's
section is found in the text, parsed when it is asked for, and replaced alone: the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from seam.files import write_text

_HEAD = "schema: '2.0'\nstages:\n"
_NAME = re.compile(r"(?m)^  ([^\s'\"?#][^\n]*):\n")


class LockSections(Mapping[str, Any]):
    """What dvc.lock records of each stage by its name, as the file is now."""

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
            text = self._path.read_text(encoding="utf-8")
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
            write_text(self._path, _HEAD + "".join(self._texts.values()))
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
        stages: Mapping[str, Any] = self._parse("", self._foreign).get("stages", {})
        return stages

    def _parse(self, name: str, text: str) -> Any:
        """Parsed once for its text."""
        known = self._parsed.get(name)
        if known is None or known[0] != text:
            from dvc.utils.serialize import parse_yaml  # DVC takes a second to import; where nothing changed it is not

            known = self._parsed[name] = (text, parse_yaml(text, str(self._path)))
        return known[1]


def split(text: str) -> dict[str, str] | None:
    """The section of each stage by its name, in order; None where the text is not laid out as DVC does it."""
    if not text:
        return {}
    body = text.removeprefix(_HEAD)
    if body == text or re.search(r"(?m)^(\S| \S)", body) or not body.endswith("\n"):
        return None
    found = list(_NAME.finditer(body))
    if not found or found[0].start() != 0 or len(found) != len(re.findall(r"(?m)^  \S", body)):
        return None
    ends = [*(match.start() for match in found[1:]), len(body)]
    return {match[1]: body[match.start() : end] for match, end in zip(found, ends, strict=True)}
