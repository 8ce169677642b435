"""What a choice among trained networks comes to, and its table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from seam.door.candidates import Choice
from seam.measures.transferability.rows import ESTIMATES

COLUMNS = ("", *(row.label for row in ESTIMATES.values()), "weights", "multiply-adds", "ms", "exposed", "licence")
"""Of the table of a selection."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Trained networks in the order in which they are expected to do well; `print` shows a table."""

    choices: tuple[Choice, ...]
    """Best first; behind them those that could not be judged."""
    by: str
    """The estimate that orders them."""
    first_beats_second: float | None
    """How likely the first is ahead of the second, were other images drawn; None: there is no second."""
    classes: tuple[str, ...]
    images: int
    """That were looked at."""
    seed: int
    seconds: float
    settings: Mapping[str, Any]
    """JSON."""
    conditions: Mapping[str, Any]
    """JSON: engine, threads, versions, machine."""

    @property
    def best(self) -> Choice:
        """The first."""
        return self.choices[0]

    def to_dict(self) -> dict[str, Any]:
        """JSON."""
        return {**asdict(self), "choices": [choice.to_dict() for choice in self.choices]}

    def __str__(self) -> str:
        """A table, and how sure it is."""
        rows = [COLUMNS, *(cells(choice) for choice in self.choices if choice.reason is None)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
        lines = [
            f"{first:<{widths[0]}}  " + "  ".join(f"{c:>{w}}" for c, w in zip(others, widths[1:], strict=True))
            for first, *others in rows
        ]
        lines += [f"{choice.name}: not judged: {choice.reason}" for choice in self.choices if choice.reason is not None]
        return "\n".join([*lines, *self.certainty()])

    def certainty(self) -> list[str]:
        """How sure the order is, in a sentence; nothing where there is one network."""
        if self.first_beats_second is None:
            return []
        first, second, label = self.choices[0].name, self.choices[1].name, ESTIMATES[self.by].label
        return [
            f"By {label}, {first} is ahead of {second} in {self.first_beats_second:.0%} of the draws of"
            f" {self.images} images."
        ]


def cells(choice: Choice) -> tuple[str, ...]:
    """One row of the table, as people read it."""
    assert choice.estimates is not None
    assert choice.probe_interval is not None
    low, high = (f"{100 * value:.1f}" for value in choice.probe_interval)
    values = [f"{value:.3f}" for name, value in choice.estimates.items() if name != "probe"]
    return (
        choice.name,
        f"{100 * choice.estimates['probe']:.1f}% [{low}, {high}]",
        *values,
        f"{choice.params_total:,}",
        f"{choice.macs:,}",
        "-" if choice.latency_ms_p50 is None else f"{choice.latency_ms_p50:.2f}",
        "-" if choice.exposure is None else f"{choice.exposure:.0%}",
        choice.licence,
    )
