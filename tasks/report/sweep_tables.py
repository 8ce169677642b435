"""The tables of a sweep's page: all points, and means over seeds and over subjects."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.report.sweep_measures import (
    ACCURACY,
    ACCURACY_CHANGE,
    DEFECTS,
    DEFECTS_CHANGE,
    DENSITY,
    LATENCY,
    LATENCY_KEPT,
    MACS_KEPT,
    TABLE,
    Measure,
)
from tasks.report.sweep_rows import Arranged, Group, SweepRow, as_number, duration, grouped, value_at
from tasks.report.words import NOTHING

_MOST_CHOICES = 40
"""Values of a parameter up to which it has a menu of its own."""
_PILLS = {"promoted": "pass", "failed": "fail", "gate not met": "warn", "done": "", "waiting": "soft"}


@dataclass(frozen=True)
class Column:
    """Of a table."""

    head: str
    about: str = ""
    number: bool = True
    first: str = "ascending"
    """Order of the first click."""
    choices: Sequence[str] = ()
    """What its menu offers; empty: it has none."""


@dataclass(frozen=True)
class Cell:
    """Of a table."""

    text: str
    value: float | str | None = None
    """What it is sorted by; None: its text, or nothing known where its column is of numbers."""
    tone: str = ""
    about: str = ""


@dataclass(frozen=True)
class Line:
    """A row of the table of all points."""

    number: int
    row: SweepRow
    link: str
    pill: str
    why: str
    """Why it failed, or registers nothing; empty: neither."""
    cells: list[Cell]


class Tables:
    """Of points that are arranged."""

    def __init__(self, of: Arranged) -> None:
        self._of = of
        self._measures = [m for m in TABLE if any(m.of(row.headline) is not None for row in of.order)]
        self._many_workers = len({row.worker for row in of.order if row.worker}) > 1

    def columns(self) -> list[Column]:
        """Of the table of all points, after the first."""
        return [
            Column("outcome", number=False, choices=_choices([row.outcome for row in self._of.order])),
            Column("doubts", "Doubts that its stages recorded.", first="descending"),
            *(
                Column(name, f"Parameter {name}", _are_numbers(values), choices=_choices(values))
                for name, values in self._of.varied.items()
            ),
            *(Column(m.head, m.about, first="descending" if m.more_is_better else "ascending") for m in self._measures),
            Column("gates", "Gates of the registry that are met."),
            Column("version", "In the registry."),
            Column("took", "Time of its worker.", first="descending"),
            *([Column("worker", number=False)] if self._many_workers else []),
        ]

    def lines(self) -> list[Line]:
        """The table of all points."""
        return [
            Line(
                number,
                row,
                safe_link(row.link),
                _PILLS[row.outcome],
                row.error or row.headline.get("not_registered") or "",
                self._cells(row),
            )
            for number, row in enumerate(self._of.order)
        ]

    def _cells(self, row: SweepRow) -> list[Cell]:
        """After the first two columns."""
        found, judged = row.headline, len(row.headline.get("gates", ()))
        met = judged - len(row.unmet)
        doubts = len(row.doubts) if row.state == "done" else None
        cells = [Cell(NOTHING if doubts is None else str(doubts), doubts, "warned" if doubts else "")]
        for name in self._of.varied:
            text = value_at(row, name, self._of.base)
            cells.append(Cell(text, as_number(text)))
        cells += [_measured(measure, row) for measure in self._measures]
        cells.append(Cell(f"{met} of {judged}", met - judged) if judged else Cell(NOTHING))
        version = found.get("version")
        cells.append(
            Cell(NOTHING if version is None else str(version), version, about=found.get("registered_model") or "")
        )
        cells.append(Cell(NOTHING if row.seconds is None else duration(row.seconds), row.seconds))
        if self._many_workers:
            cells.append(Cell(_short(row.worker), about=row.worker))
        return cells

    def tables(self) -> list[tuple[str, str, str, list[Column], list[list[Cell]]]]:
        """(id, title, words, columns, rows) of means: over seeds, and over the subjects of each setting."""
        found = []
        if self._of.seeded:
            words = "Mean ± standard deviation over the seeds that ended well."
            found.append(("seeds", "Over seeds", words, *self._means(self._of.groups, "subject", DEFECTS)))
        if len(self._of.settings) > 1 and len(self._of.subjects) > 1:
            groups = grouped(self._of.order, self._of.varied, self._of.base, by_subject=False)
            words = "Mean ± standard deviation over all points of a setting, whatever their subject and seed."
            found.append(("settings", "Setting by setting", words, *self._means(groups, "", DEFECTS_CHANGE)))
        return found

    def _means(self, groups: Sequence[Group], subject: str, defects: Measure) -> tuple[list[Column], list[list[Cell]]]:
        measures = [
            m for m in (ACCURACY, ACCURACY_CHANGE, DENSITY, MACS_KEPT, LATENCY_KEPT, defects) if m in self._measures
        ]
        columns = [
            *([Column(subject, number=False)] if subject else []),
            *([Column("setting", number=False)] if len(self._of.settings) > 1 else []),
            Column("n", "Points that ended well, of those there are."),
            *(Column(m.head, m.about, first="descending" if m.more_is_better else "ascending") for m in measures),
            Column("promoted"),
        ]
        rows = []
        for group in groups:
            done = len(group.done)
            rows.append(
                [
                    *([Cell(group.subject)] if subject else []),
                    *([Cell(group.setting)] if len(self._of.settings) > 1 else []),
                    Cell(str(done) if done == len(group.rows) else f"{done} of {len(group.rows)}", done),
                    *(Cell((spread := group.spread(m)).shown(m), spread.mean) for m in measures),
                    Cell(str(promoted := sum(row.outcome == "promoted" for row in group.rows)), promoted),
                ]
            )
        return columns, rows


def _measured(measure: Measure, row: SweepRow) -> Cell:
    value = measure.of(row.headline)
    tone, about = "", ""
    if measure.signed and value is not None and abs(value) >= 5e-5:
        tone = "good" if (value > 0) == measure.more_is_better else "bad"
    if measure is LATENCY:
        about = row.headline.get("engine") or ""
    return Cell(measure.shown(value), value, tone, about)


def _choices(values: Sequence[str]) -> list[str]:
    found = list(dict.fromkeys(values))
    return found if 1 < len(found) <= _MOST_CHOICES else []


def _are_numbers(values: Sequence[str]) -> bool:
    return all(value == NOTHING or as_number(value) is not None for value in values)


def _short(worker: str) -> str:
    """host:folder by its last part."""
    host, _, folder = worker.partition(":")
    return f"{host}:{folder.rstrip('/').rpartition('/')[2]}" if folder else host


def safe_link(address: str) -> str:
    """An address that a page may lead to: of the web, or relative; empty otherwise."""
    scheme = re.match(r"\s*([a-z][a-z0-9+.-]*):", address, re.IGNORECASE)
    return address if not scheme or scheme[1].lower() in ("http", "https") else ""
