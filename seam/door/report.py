"""What a result says of itself: what was made of what, and what is doubtful."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Size:
    """What a network is and costs."""

    accuracy: float | None
    """On val, in [0, 1]; None: it does not know these classes."""
    params_total: int
    """All weights but those of normalisation layers, see `seam.measures.macs`."""
    params_nonzero: int
    macs: int
    """Multiply-adds of one image, of the weights that are not zero."""
    latency_ms_p50: float | None = None
    """Of a call, on the engine of the report; None: not measured."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was made, in numbers; `print` shows a table."""

    method: str
    """In words."""
    classes: tuple[str, ...]
    """In the order of the outputs."""
    source: Size
    """The network as it was given; its accuracy is that among all of its classes."""
    result: Size
    images: Mapping[str, int]
    """Split -> number of images."""
    normalisation: str
    seed: int
    seconds: float
    settings: Mapping[str, Any]
    """JSON: the numbers of search and training."""
    conditions: Mapping[str, Any]
    """JSON: engine, threads, versions, machine."""
    doubts: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON."""
        return asdict(self)

    def counts(self) -> dict[str, int]:
        """What is said of the result's network, under the names of `seam.measures.macs.Counts`."""
        said = self.result
        return {
            "params_total": said.params_total,
            "params_nonzero": said.params_nonzero,
            "macs_nonzero": said.macs,
        }

    def __str__(self) -> str:
        """A table, and the doubts below it."""
        rows = [
            ("", "source", "result"),
            ("accuracy on val", *(_percent(size.accuracy) for size in (self.source, self.result))),
            ("weights", *(f"{size.params_nonzero:,}" for size in (self.source, self.result))),
            ("multiply-adds", *(f"{size.macs:,}" for size in (self.source, self.result))),
        ]
        if self.source.latency_ms_p50 and self.result.latency_ms_p50:
            where = f"ms, {self.conditions['engine']}, batch {self.conditions['batch_size']}"
            rows.append((where, *(f"{size.latency_ms_p50:.2f}" for size in (self.source, self.result))))
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        lines = [f"{self.method}: {', '.join(self.classes)}"]
        lines += [f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}" for a, b, c in rows]
        lines += [f"normalisation: {self.normalisation}; seed {self.seed}; {self.seconds:.0f} s"]
        return "\n".join([*lines, *(f"doubt: {text}" for text in self.doubts)])


def _percent(accuracy: float | None) -> str:
    return "-" if accuracy is None else f"{100 * accuracy:.1f}%"
