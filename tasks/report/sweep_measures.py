"""The figures by which a sweep's points are compared: what each is, how it is shown, and its spread."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.report.words import NOTHING, show

_MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Measure:
    """One figure of a point."""

    name: str
    head: str
    """Of its column."""
    about: str
    """In a sentence."""
    of: Callable[[Mapping[str, Any]], float | None]
    """From a headline."""
    text: Callable[[float], str]
    more_is_better: bool
    signed: bool = False
    """Whether it is a change, good or bad by its sign."""

    def shown(self, value: float | None) -> str:
        """As people read it."""
        return NOTHING if value is None else self.text(value)


def _plain(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda figures: figures.get(name)


def _change(after: str, before: str) -> Callable[[Mapping[str, Any]], float | None]:
    def change(figures: Mapping[str, Any]) -> float | None:
        a, b = figures.get(after), figures.get(before)
        return None if a is None or b is None else a - b

    return change


def _share(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    def share(figures: Mapping[str, Any]) -> float | None:
        after, before = figures.get(name), figures.get(f"original_{name}")
        return None if after is None or not before else after / before

    return share


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%" if value >= 0.001 or value == 0 else f"{100 * value:.2g}%"


def points_text(value: float) -> str:
    """A difference of fractions in points: +1.69."""
    text = f"{100 * value:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text.replace("-", _MINUS)


ACCURACY = Measure(
    "accuracy",
    "accuracy",
    "On the test images.",
    _plain("accuracy"),
    lambda v: show(v, "fraction"),
    True,
)
ACCURACY_CHANGE = Measure(
    "accuracy_change",
    "vs original",
    "Accuracy against the original's, in points.",
    _change("accuracy", "original_accuracy"),
    points_text,
    True,
    signed=True,
)
DENSITY = Measure(
    "density", "weights", "Weights that are not zero, as a share of the original's.", _plain("density"), _percent, False
)
MACS = Measure(
    "macs",
    "multiply-adds",
    "Multiply-adds by weights that are not zero.",
    _plain("macs"),
    lambda v: show(v, "count"),
    False,
)
MACS_KEPT = Measure(
    "macs_kept", "multiply-adds", "Multiply-adds left, as a share of the original's.", _share("macs"), _percent, False
)
LATENCY = Measure(
    "latency_ms_p50",
    "ms",
    "Median milliseconds of a batch on the fastest engine.",
    _plain("latency_ms_p50"),
    lambda v: show(v, "milliseconds").removesuffix(" ms"),
    False,
)
LATENCY_KEPT = Measure(
    "latency_kept",
    "time left",
    "Milliseconds as a share of the original's, each on its fastest engine.",
    _share("latency_ms_p50"),
    _percent,
    False,
)
DEFECTS = Measure(
    "defect_inheritance_rate",
    "defects",
    "Defect inheritance rate: adversarial images of the original that fool the result too.",
    _plain("defect_inheritance_rate"),
    _percent,
    False,
)
DEFECTS_CHANGE = Measure(
    "defects_change",
    "vs standard",
    "Defect inheritance rate against standard fine-tuning's, in points.",
    _change("defect_inheritance_rate", "standard_defect_inheritance_rate"),
    points_text,
    False,
    signed=True,
)
TABLE = (ACCURACY, ACCURACY_CHANGE, DENSITY, MACS_KEPT, LATENCY, LATENCY_KEPT, DEFECTS, DEFECTS_CHANGE)
"""Columns of a sweep's table."""


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (n - 1) of what was measured."""

    mean: float | None
    sd: float | None
    """None: fewer than two values."""
    n: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread:
        """Of the values that there are."""
        known = [value for value in values if value is not None]
        return cls(
            statistics.fmean(known) if known else None, statistics.stdev(known) if len(known) > 1 else None, len(known)
        )

    def shown(self, measure: Measure) -> str:
        """95.20% ± 0.41%."""
        return (
            measure.shown(self.mean) if self.sd is None else f"{measure.shown(self.mean)} ± {_bare(measure, self.sd)}"
        )


def _bare(measure: Measure, sd: float) -> str:
    return f"{100 * sd:.1f}" if measure.text is _percent else measure.shown(sd).lstrip("+").removesuffix("%")
