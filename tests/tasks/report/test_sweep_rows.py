"""What is said of a sweep's points side by side, against what it is by hand."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from tasks.report.scatter import Point, front, scatter
from tasks.report.sweep_measures import ACCURACY, ACCURACY_CHANGE, DENSITY, LATENCY_KEPT, Spread, points_text
from tasks.report.sweep_rows import (
    SUMMARY,
    Arranged,
    SweepRow,
    alike,
    closing_line,
    duration,
    grouped,
    summary_rows,
    varied,
    worst,
)
from tests.tasks.report.made_up_sweep import figures, row


def rows_of(*rows: dict[str, Any]) -> list[SweepRow]:
    return [SweepRow.of(one) for one in rows]


def test_the_front_by_hand() -> None:
    points = [(3.0, 9.0), (1.0, 5.0), (2.0, 5.0), (2.0, 7.0), (4.0, 8.0), (1.0, 5.0), (1.0, 4.0)]
    assert front(points) == [1, 5, 3, 0]
    assert front([]) == []


def test_mean_and_spread_by_hand() -> None:
    spread = Spread.of([0.1, None, 0.2, 0.3])
    assert spread.n == 3 and [spread.mean, spread.sd] == pytest.approx([0.2, 0.1])
    assert spread.shown(ACCURACY) == "20.00% ± 10.00"
    assert Spread.of([0.5]).shown(DENSITY) == "50.0%"
    assert Spread.of([0.0101, 0.0102]).shown(DENSITY) == "1.0% ± 0.0"
    assert Spread.of([None]) == Spread(None, None, 0)


def test_seeds_are_no_setting_and_what_is_left_out_has_the_projects_own_value() -> None:
    rows = rows_of(row("a"), row("a seed=1"), row("a seed=1 x=2", state="failed"), row("b x=2"))
    base = {"seed": 0, "x": 1}
    assert varied(rows, base) == {"seed": ["0", "1"], "x": ["1", "2"]}
    groups = grouped(rows, varied(rows, base), base, by_subject=True)
    assert [(g.subject, g.setting, len(g.rows), len(g.done)) for g in groups] == [
        ("a", "x=1", 2, 2),
        ("a", "x=2", 1, 0),
        ("b", "x=2", 1, 1),
    ]
    whole = grouped(rows, varied(rows, base), base, by_subject=False)
    assert [(g.name, len(g.rows)) for g in whole] == [(" x=1".strip(), 2), ("x=2", 2)]
    assert varied(rows_of(row("a x=2"), row("b x=2")), base) == {}


def test_the_order_is_natural() -> None:
    keys = ["b x=1e-05", "a10 x=0.5", "a10 x=0.1", "a9 x=10", "a9 x=9", "a10"]
    arranged = Arranged(rows_of(*map(row, keys)), {"x": 0.2})
    assert [r.key for r in arranged.order] == ["a9 x=9", "a9 x=10", "a10 x=0.1", "a10", "a10 x=0.5", "b x=1e-05"]
    assert arranged.varied == {"x": ["1e-05", "0.1", "0.2", "0.5", "9", "10"]}
    assert not arranged.seeded


def test_the_worst_come_first_and_those_within_the_limit_not_at_all() -> None:
    drops = {"a": 0.5, "b": 0.9, "c": 0.1, "d": 0.9001, "e": 0.95}
    rows = rows_of(*(row(k, headline=figures(accuracy=v, original_accuracy=0.9)) for k, v in drops.items()))
    assert [r.key for r in worst(rows, ACCURACY_CHANGE, 0.0)] == ["c", "a"]
    assert [r.key for r in worst(rows, ACCURACY_CHANGE, 0.0, most=1)] == ["c"]
    slow = rows_of(row("s", headline=figures(latency_ms_p50=1.5)), row("f"), row("w", state="waiting"))
    assert [r.key for r in worst(slow, LATENCY_KEPT, 1.0)] == ["s"]


def test_lines_that_differ_in_numbers_and_names_are_one() -> None:
    one, two = rows_of(row("digit-1"), row("digit-2"))
    said = [
        (one, "'digit-1': 24 images of 'cat'"),
        (two, "another matter"),
        (two, "'digit-2': 9 images of 'a dog'"),
        (two, "'digit-2': 7 images of 'a fox'"),
    ]
    found = alike(said)
    assert [(a.text, [r.key for r in a.rows], a.differ) for a in found] == [
        ("'digit-1': 24 images of 'cat'", ["digit-1", "digit-2"], True),
        ("another matter", ["digit-2"], False),
    ]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (59.9, "60 s"),
        (61, "1 min 01 s"),
        (3599.7, "1 h 00 min"),
        (7830, "2 h 10 min"),
    ],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_the_closing_line_counts() -> None:
    held = figures(promoted=False, gates=[{"gate": "g", "passed": False, "text": ""}])
    rows = rows_of(
        row("a", seconds=30.0),
        row("b", headline=held, seconds=60.0, worker="other:/w"),
        row("c", state="failed"),
        row("d", state="waiting"),
    )
    assert closing_line(rows) == (
        "2 of 4 points done, 1 failed, 1 waiting; 1 promoted, 1 held back by a gate; 1 min 30 s of work on 2 workers"
    )
    assert [r.outcome for r in rows] == ["promoted", "gate not met", "failed", "waiting"]
    assert rows_of(row("m", headline={"accuracy": 0.5}))[0].outcome == "done"


def test_a_terminal_of_100_columns_holds_the_summary() -> None:
    found = summary_rows([row("digit-3 seed=1 search.target=0.3"), row("digit-4", state="failed")])
    assert found[0] == (
        "digit-3 seed=1 search.target=0.3",
        "promoted",
        "98.00%",
        "−1.00",
        "10.0%",
        "25.0%",
        "1.0%",
        "–",
    )
    assert found[1] == ("digit-4", "failed", *["–"] * 6)
    table = Table(*SUMMARY, box=None)
    unmet = figures(promoted=False, gates=[{"gate": "g", "passed": False, "text": ""}])
    for cells in summary_rows([row("digit-3 seed=1 search.target=0.3", headline=unmet), row("a"), row("b")]):
        table.add_row(*cells)
    console = Console(width=100)
    with console.capture() as captured:
        console.print(table)
    lines = captured.get().splitlines()
    assert len(lines) == 4 and all(len(line.rstrip()) <= 100 for line in lines)
    assert "…" not in "".join(lines)


def test_a_figure_puts_better_points_up_and_left_and_reads_in_round_values() -> None:
    points = [Point(x, y, f"p{x}", "", "", 0) for x, y in ((1.0, 50.0), (2.0, 90.0), (2.5, 60.0), (40.0, 95.0))]
    drawn = scatter("f", "t", "c", ("x", "y"), points)
    at = {dot.point.cost: dot for dot in drawn.dots}
    assert at[1.0].x < at[2.0].x < at[40.0].x
    assert at[1.0].y > at[2.5].y > at[2.0].y > at[40.0].y
    assert [(d.point.cost, d.letter) for d in drawn.leaders] == [(1.0, "A"), (2.0, "B"), (40.0, "C")]
    assert [text for _, text in drawn.x_ticks] == ["1", "2", "5", "10", "20"]
    assert [text for _, text in drawn.y_ticks] == ["50", "60", "70", "80", "90"]
    left, right, top, bottom = drawn.area
    assert all(left <= d.x <= right and top <= d.y <= bottom for d in drawn.dots)


def test_a_figure_of_equal_points_is_drawn() -> None:
    drawn = scatter("f", "t", "c", ("x", "y"), [Point(1.0, 50.0, "p", "", "", 0)] * 2)
    assert len({(d.x, d.y) for d in drawn.dots}) == 1 and drawn.x_ticks and drawn.y_ticks


def test_no_change_has_no_sign() -> None:
    assert points_text(-1e-9) == "0.00" == points_text(0.0)
    assert points_text(-0.0169) == "−1.69"
