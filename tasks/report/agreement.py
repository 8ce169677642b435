"""Whether engines answer what torch answers, as a table of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seam.inference.engines import ENGINES
from tasks.benchmark.kinds_compared import KINDS

Rows = list[tuple[str, str, list[str]]]


def agreement_rows(agreement: Mapping[str, Mapping[str, Any]]) -> Rows:
    """(engine, note, cells) of every engine; a cell a kind of images, in the order of `KINDS`.

    An engine that did not run has no cells.

    Args:
        agreement: benchmark_latency/export.json, `agreement`.
    """
    rows: Rows = []
    for engine, found in agreement.items():
        label = ENGINES[engine].label if engine in ENGINES else engine  # type: ignore[index]
        if "unavailable" in found:
            rows.append((label, str(found["unavailable"]), []))
            continue
        cells = [_cell(found["kinds"][kind]) for kind in KINDS if kind in found["kinds"]]
        rows.append((label, str(found["precision"]), cells))
    return rows


def _cell(found: Mapping[str, Any]) -> str:
    """0.00012% of the largest output; 0 of 128 labels flip."""
    apart = "not comparable" if found["deviation"] is None else f"{found['deviation']:.1%}"
    if found["deviation"] is not None and 0 < found["deviation"] < 0.0005:
        apart = f"{100 * found['deviation']:.1g}%"
    return f"{apart}; {found['labels_flipped']} of {found['images']}"
