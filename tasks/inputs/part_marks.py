"""The small files of modularizations that a subject is made of, in one: DVC takes no lists of dependencies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seam.errors import MaskError
from seam.files import read_json, write_json
from tasks.project.stage import StageContext, StageResult
from tasks.project.stages import MODULARIZED
from tasks.project.subject import parts_of


def list_marks(context: StageContext) -> StageResult:
    """Publish parts.json: the name of each modularization that the subject is made of -> what its file says.

    Modules made elsewhere are not in it: what is made of them has the digests of their files.

    Raises:
        MaskError: one of them was not made yet.
    """
    marks = context.root / "artifacts" / MODULARIZED
    found = {part.name: _mark(marks / f"{part.name}.json") for part in parts_of(context.params, [context.whole])}
    with context.publish() as out:
        write_json(out / "parts.json", found)
    return context.result({"parts": len(found)})


def _mark(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except (OSError, ValueError) as e:
        raise MaskError(f"{path}: expected what the stage modularize leaves there, got {e}; run it again.") from e
