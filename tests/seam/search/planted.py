"""Time tables that nobody measured."""

from __future__ import annotations

from seam.search.time_table import TimeTable


def planted(saved_ms: dict[str, dict[int, float]]) -> TimeTable:
    """Of a network that takes 10 ms."""
    return TimeTable(
        source_sha256="a" * 64,
        engine="onnxruntime",
        version="1.0",
        batch_size=16,
        num_threads=1,
        repeats=50,
        machine={"cpu": "one"},
        latency_ms_p50=10.0,
        saved_ms=saved_ms,
        interpolated={},
    )
