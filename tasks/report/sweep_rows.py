"""A sweep's points side by side: in order and in groups, the worst of them, and what is said of several."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tasks.report.sweep_measures import ACCURACY, ACCURACY_CHANGE, DEFECTS, DENSITY, LATENCY_KEPT, Measure, Spread
from tasks.report.words import NOTHING

SEED = "seed"
"""The parameter whose values are repetitions, not settings."""
State = Literal["done", "failed", "waiting"]


@dataclass(frozen=True)
class SweepRow:
    """One point of a sweep: a subject under one setting."""

    key: str
    """What it is called: digit-3 seed=1 search.target=0.3."""
    subject: str
    setting: Mapping[str, Any]
    """Parameter -> value, of those that differ from the project's."""
    state: State
    error: str
    """The line of one that failed."""
    headline: Mapping[str, Any]
    """What `headline` says of its card; empty where there is none."""
    seconds: float | None
    worker: str
    link: str
    """Its own report, or run; empty: none."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> SweepRow:
        """From what a record holds; setting, error, headline, seconds, worker and link may be missing."""
        return cls(
            key=row["key"],
            subject=row["subject"],
            setting=row.get("setting") or {},
            state=row["state"],
            error=row.get("error") or "",
            headline=row.get("headline") or {},
            seconds=row.get("seconds"),
            worker=row.get("worker") or "",
            link=row.get("link") or "",
        )

    @property
    def unmet(self) -> list[Mapping[str, Any]]:
        """Gates that it does not meet."""
        return [gate for gate in self.headline.get("gates", ()) if not gate["passed"]]

    @property
    def doubts(self) -> Sequence[str]:
        """What is doubtful about it."""
        found: Sequence[str] = self.headline.get("warnings", ())
        return found

    @property
    def outcome(self) -> str:
        """How it ended, in a word or three."""
        if self.state != "done":
            return self.state
        if self.headline.get("promoted"):
            return "promoted"
        return "gate not met" if self.unmet else "done"


def value_text(value: Any) -> str:
    """A parameter's value as it is typed."""
    return value if isinstance(value, str) else json.dumps(value)


def varied(rows: Iterable[SweepRow], base: Mapping[str, Any]) -> dict[str, list[str]]:
    """Parameter -> its values in the sweep, where it has more than one; a point without it has that of `base`."""
    rows = list(rows)
    names = dict.fromkeys(name for row in rows for name in row.setting)
    values = {name: list(dict.fromkeys(value_at(row, name, base) for row in rows)) for name in names}
    return {name: sorted(found, key=natural) for name, found in values.items() if len(found) > 1}


def value_at(row: SweepRow, name: str, base: Mapping[str, Any]) -> str:
    """The value of a parameter at a point; a dash: the project's own, which is not told."""
    value = row.setting.get(name, base.get(name))
    return NOTHING if value is None and name not in row.setting and name not in base else value_text(value)


def setting_text(row: SweepRow, names: Iterable[str], base: Mapping[str, Any]) -> str:
    """Values of these parameters, the seed aside: search.target=0.3."""
    parts = [f"{name}={value}" for name in names if name != SEED and (value := value_at(row, name, base)) != NOTHING]
    return " ".join(parts) or "as it is"


@dataclass(frozen=True)
class Group:
    """Points that belong together: the seeds of a subject under one setting, or all subjects under it."""

    subject: str
    setting: str
    rows: list[SweepRow] = field(default_factory=list)

    @property
    def name(self) -> str:
        """digit-3 search.target=0.3."""
        return self.subject if self.setting == "as it is" else f"{self.subject} {self.setting}".strip()

    @property
    def done(self) -> list[SweepRow]:
        """Of its points those that ended well."""
        return [row for row in self.rows if row.state == "done"]

    def spread(self, measure: Measure) -> Spread:
        """Over its points."""
        return Spread.of(measure.of(row.headline) for row in self.done)


def grouped(rows: Iterable[SweepRow], names: Iterable[str], base: Mapping[str, Any], by_subject: bool) -> list[Group]:
    """Points of one setting, the seed aside, together; of one subject too if `by_subject`."""
    names, found = list(names), dict[tuple[str, str], Group]()
    for row in rows:
        key = (row.subject if by_subject else "", setting_text(row, names, base))
        found.setdefault(key, Group(*key)).rows.append(row)
    return list(found.values())


class Arranged:
    """Points in the order of their table, and what they have in common."""

    def __init__(self, rows: Iterable[SweepRow], base: Mapping[str, Any]) -> None:
        rows = list(rows)
        self.base = base
        self.varied = varied(rows, base)
        """Parameter -> its values, in order."""
        self.order = sorted(rows, key=self._rank)
        self.numbers = {row.key: number for number, row in enumerate(self.order)}
        """Point -> its row in the table."""
        self.groups = grouped(self.order, self.varied, base, by_subject=True)
        self.subjects = list(dict.fromkeys(group.subject for group in self.groups))
        self.settings = list(dict.fromkeys(group.setting for group in self.groups))
        self.seeded = any(len(group.rows) > 1 for group in self.groups)
        """Whether points differ in their seed alone."""

    def _rank(self, row: SweepRow) -> Any:
        """Subjects in their natural order, then the parameters' values."""
        return natural(row.subject), [natural(value_at(row, name, self.base)) for name in self.varied]


def natural(text: str) -> list[tuple[int, float, str]]:
    """Sorts numbers, and those inside a text, as numbers."""
    if (number := as_number(text)) is not None:
        return [(0, number, "")]
    parts = re.findall(r"\d+(?:\.\d+)?|\D+", text)
    return [(0, float(part), "") if part[0].isdigit() else (1, 0.0, part) for part in parts]


def as_number(text: str) -> float | None:
    """A text that is a finite number; None otherwise."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


@dataclass(frozen=True)
class Alike:
    """Lines that say the same of several points, in other numbers."""

    text: str
    """The first of them."""
    said: list[tuple[SweepRow, str]] = field(default_factory=list)

    @property
    def rows(self) -> list[SweepRow]:
        """Its points, each once."""
        return list({row.key: row for row, _ in self.said}.values())

    @property
    def differ(self) -> bool:
        """Whether the lines are not the same to the letter."""
        return any(text != self.text for _, text in self.said)


_OWN = re.compile(r"'[^']*'|\d[\d.,]*%?")


def alike(said: Iterable[tuple[SweepRow, str]]) -> list[Alike]:
    """Lines that differ in numbers, quoted names and the subject's name alone, together; the most frequent first."""
    found: dict[str, Alike] = {}
    for row, text in said:
        kind = _OWN.sub("#", text.replace(row.subject, "#"))
        found.setdefault(kind, Alike(text)).said.append((row, text))
    return sorted(found.values(), key=lambda one: -len(one.rows))


def worst(rows: Iterable[SweepRow], measure: Measure, limit: float, most: int = 8) -> list[SweepRow]:
    """Points that are worse than `limit` by a measure, the worst first."""
    sign = -1 if measure.more_is_better else 1
    known = [(sign * value, row) for row in rows if (value := measure.of(row.headline)) is not None]
    beyond = [(value, row) for value, row in known if value > sign * limit + 1e-9]
    return [row for _, row in sorted(beyond, key=lambda pair: -pair[0])[:most]]


def duration(seconds: float) -> str:
    """Time as people say it: 8.1 s, 3 min 05 s, 2 h 10 min."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60:,} h {minutes % 60:02} min"


SUMMARY = ("point", "outcome", "accuracy", "change", "weights", "time", "defects", "doubts")
"""Heads of `summary_rows`; all but the first two are numbers. Change: of the accuracy, in points; weights and time:
what is left of the original's."""


def summary_rows(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """A line a point for a terminal, cells as `SUMMARY` names them; 100 columns hold them."""
    shown = (ACCURACY, ACCURACY_CHANGE, DENSITY, LATENCY_KEPT, DEFECTS)
    return [
        (row.key, row.outcome, *(m.shown(m.of(row.headline)) for m in shown), str(len(row.doubts) or NOTHING))
        for row in map(SweepRow.of, rows)
    ]


def closing_line(rows: Sequence[SweepRow]) -> str:
    """How it went: 58 of 64 points done, 6 failed; 51 promoted, 7 held back by a gate; 3 h 12 min of work."""
    count = {state: sum(row.state == state for row in rows) for state in ("done", "failed", "waiting")}
    ended = [f"{count['done']:,} of {len(rows):,} {'point' if len(rows) == 1 else 'points'} done"]
    ended += [f"{count[state]:,} {state}" for state in ("failed", "waiting") if count[state]]
    promoted = sum(row.outcome == "promoted" for row in rows)
    held = sum(row.outcome == "gate not met" for row in rows)
    parts = [", ".join(ended), f"{promoted:,} promoted" + (f", {held:,} held back by a gate" if held else "")]
    workers = {row.worker for row in rows if row.worker}
    if any(row.seconds is not None for row in rows):
        where = f" on {len(workers)} workers" if len(workers) > 1 else ""
        parts.append(f"{duration(sum(row.seconds or 0.0 for row in rows))} of work{where}")
    return "; ".join(parts)
