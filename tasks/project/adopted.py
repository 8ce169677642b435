"""What one run made and `--params` makes the source of another: copied to `sources/`, out of artifacts/.

There DVC removes what no stage of params.yaml makes any more, and a stage makes anew what is stale.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from seam.files import sha256_file, write_bytes
from tasks.project.source_changes import SOURCE_SECTIONS

FOLDER = "sources"
_MADE = "artifacts"
_KEYS = ("architecture", "checkpoint")


def adopted(root: Path, document: Any) -> dict[Path, Path]:
    """Have the sources that a document of parameters names, as far as a run made them, where they are to stay.

    They are in `sources/NAME-DIGEST/`, NAME being the subject that they were made for, DIGEST their bytes'.

    Args:
        root: the project.
        document: sections of parameters; what it names in artifacts/ is replaced.

    Returns:
        File that is to be copied -> where to; nothing is copied yet.
    """
    copies: dict[Path, Path] = {}
    for section in SOURCE_SECTIONS:
        values = document.get(section)
        if isinstance(values, Mapping):
            copies |= _adopt(root, values)
    return copies


def copy(copies: Mapping[Path, Path]) -> None:
    """Copy each file that is not there yet."""
    for made, kept in copies.items():
        if not kept.is_file():
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(kept, made.read_bytes())


def _adopt(root: Path, values: Any) -> dict[Path, Path]:
    files = dict(_made(root, values))
    if not files:
        return {}
    digest = hashlib.sha256("".join(sha256_file(root / file) for file in files.values()).encode()).hexdigest()
    name = next(iter(files.values())).parts[1]
    folder = Path(FOLDER) / f"{name}-{digest[:8]}"
    for key, file in files.items():
        values[key] = values[key].replace(file.as_posix(), (folder / file.name).as_posix(), 1)
    return {root / file: root / folder / file.name for file in files.values()}


def _made(root: Path, values: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """The keys that name a file in artifacts/, and the file, below the project's folder."""
    for key in _KEYS:
        value = values.get(key)
        if not isinstance(value, str):
            continue
        file = Path(value.rpartition(":")[0] if value.count(":") == 1 and ".py:" in value else value)
        if not file.is_absolute() and file.parts[:1] == (_MADE,) and (root / file).is_file():
            yield key, file
