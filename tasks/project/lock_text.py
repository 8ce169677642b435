"""The text of a dvc.lock, a section a stage, without parsing it: DVC takes milliseconds a stage for that."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from seam.errors import CacheError
from seam.files import write_text

_HEAD = "schema: '2.0'\nstages:\n"
_NAME = re.compile(r"(?m)^  ([^\s'\"?#][^\n]*):\n")
_PARAMS = "\n      params.yaml:\n"
_CONFLICT = re.compile(r"(?m)^(<{7}|={7}|>{7})( |$)")
"""What git leaves where both sides have changed."""


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


def write_sections(path: Path, sections: Mapping[str, str]) -> None:
    """Write a dvc.lock of these sections, atomically; none where there are none."""
    if sections:
        write_text(path, _HEAD + "".join(sections.values()))
    else:
        path.unlink(missing_ok=True)


def renamed(section: str, name: str) -> str:
    """The section of a stage that is called otherwise now."""
    return f"  {name}:\n{section.partition(chr(10))[2]}"


def narrowed(section: str, names: Sequence[str]) -> str:
    """The section of a stage that names `search.augment` among its parameters now, and named all of `search`."""
    before, found, rest = section.partition(_PARAMS)
    end = re.search(r"(?m)^ {0,7}\S", rest)
    block, after = (rest, "") if end is None else (rest[: end.start()], rest[end.start() :])
    kept = []
    for entry in re.split(r"(?m)^(?= {8}[^ -])", block):
        name, _, inside = entry.strip().partition(":\n")
        if name in names or not any(n.startswith(f"{name}.") for n in names):
            kept.append(entry)
            continue
        for part in re.split(r"(?m)^(?= {10}[^ -])", inside):
            if f"{name}.{part.strip().partition(':')[0]}" in names:
                own = re.sub(r"(?m)^  ", "", part.rstrip("\n")) + "\n"
                kept.append(own.replace(own.lstrip(), f"{name}.{own.lstrip()}", 1))
    return before + found + "".join(sorted(kept, key=lambda entry: entry.partition(":")[0])) + after


def check_merged(path: Path, text: str) -> None:
    """Raise a CacheError where git has left a file of DVC's half merged."""
    found = _CONFLICT.search(text)
    if found:
        line = text.count("\n", 0, found.start()) + 1
        raise CacheError(
            f"{path}: expected what DVC wrote, got a conflict of a merge in line {line}; take either side, git checkout"
            f" --ours {path} or --theirs, and run again: the other's results are in DVC's cache."
        )
