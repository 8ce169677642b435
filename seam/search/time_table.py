"""What narrowing each unit of a source saves, in milliseconds of an engine on a machine: the record, and its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from seam.errors import SearchError
from seam.files import read_json, write_json

UNMEASURED = {"measured": False}
"""Content of the file where nothing was measured."""


@dataclass(frozen=True, kw_only=True)
class TimeTable:
    """Times of one source with one unit narrowed, against the whole one's in the same run."""

    source_sha256: str
    """Of the weights of the source."""
    engine: str
    version: str | None
    """Of the engine."""
    batch_size: int
    num_threads: int
    repeats: int
    """Timed calls of each network."""
    machine: Mapping[str, Any]
    """As `seam.hardware.describe` has it."""
    latency_ms_p50: float
    """Of the whole network, compacted, a call."""
    saved_ms: Mapping[str, Mapping[int, float]]
    """Unit -> width -> by how much a call is faster where this unit alone is narrowed; every width
    below all."""
    interpolated: Mapping[str, tuple[int, ...]]
    """Unit -> widths that were not measured, but lie on the line between those that were."""


def save_times(table: TimeTable | None, path: Path) -> None:
    """Write a table, or that there is none, atomically."""
    write_json(path, UNMEASURED if table is None else {"measured": True, **asdict(table)})


def load_times(path: Path, source_sha256: str) -> TimeTable:
    """Read the table of a source.

    Args:
        path: as `save_times` wrote it.
        source_sha256: of the source that the times are needed for.

    Raises:
        SearchError: missing, damaged, not measured, or of another source.
    """
    try:
        content = read_json(path)
        table = _parsed(content) if content.pop("measured") else None
    except (OSError, JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError) as e:
        got = " ".join(f"{type(e).__name__}: {e}".split())[:160]
        raise SearchError(f"{path}: expected a time table, got {got}", hint="rerun_producer", path=path) from e
    if table is None:
        raise SearchError(f"{path}: expected a time table, got one not measured", hint="rerun_producer", path=path)
    if table.source_sha256 != source_sha256:
        raise SearchError(
            f"{path}: expected times of the source {source_sha256[:12]}, got those of {table.source_sha256[:12]}",
            hint="rerun_producer",
            path=path,
        )
    return table


def _parsed(content: Mapping[str, Any]) -> TimeTable:
    saved = {
        str(unit): {int(width): float(ms) for width, ms in by_width.items()}
        for unit, by_width in content["saved_ms"].items()
    }
    interpolated = {str(unit): tuple(map(int, widths)) for unit, widths in content["interpolated"].items()}
    full = float(content["latency_ms_p50"])
    if not full > 0:
        raise ValueError(f"latency_ms_p50 {full}")
    return TimeTable(**{**content, "latency_ms_p50": full, "saved_ms": saved, "interpolated": interpolated})
