"""Time tables that nobody measured."""

from __future__ import annotations

from collections.abc import Mapping

from seam.search.time_table import TimedLayout, TimeTable


def planted(*timed: tuple[Mapping[str, int], float], run: int = 0) -> TimeTable:
    """Of a network that takes 10 ms; layouts, and the milliseconds that they take."""
    return TimeTable(
        source_sha256="a" * 64,
        engine="onnxruntime",
        version="1.0",
        batch_size=16,
        num_threads=1,
        repeats=16,
        machine={"cpu": "one"},
        latency_ms_p50=10.0,
        timed=tuple(TimedLayout(layout, ms / 10, run) for layout, ms in timed),
    )
