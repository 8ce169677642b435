"""Times of a source narrowed in many ways, in milliseconds of an engine on a machine: the record, and its file."""

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


@dataclass(frozen=True)
class TimedLayout:
    """A network with some units narrowed, timed in turn with the whole one."""

    layout: Mapping[str, int]
    """Unit -> width, of every unit."""
    ratio: float
    """Of its time to the whole one's."""
    run: int
    """Those with the same number were timed in turn."""


@dataclass(frozen=True, kw_only=True)
class TimeTable:
    """Times of networks narrowed from one source."""

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
    timed: tuple[TimedLayout, ...]


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
    timed = tuple(
        TimedLayout({str(unit): int(width) for unit, width in t["layout"].items()}, float(t["ratio"]), int(t["run"]))
        for t in content["timed"]
    )
    full = float(content["latency_ms_p50"])
    if not min(full, *(t.ratio for t in timed)) > 0:
        raise ValueError("times that are not above 0")
    return TimeTable(**{**content, "latency_ms_p50": full, "timed": timed})
