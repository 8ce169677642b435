"""The figures of a sweep's page: accuracy against what it costs, each point with its name."""

from __future__ import annotations

from tasks.report.scatter import Point, Scatter, scatter
from tasks.report.sweep_measures import ACCURACY, ACCURACY_CHANGE, DENSITY, LATENCY, MACS, MACS_KEPT, Measure
from tasks.report.sweep_rows import Arranged, SweepRow

_COLOURS = 8
_SCALES = {LATENCY: 1.0, MACS: 1e-6}
"""From a measure to what its axis says; percent otherwise."""


class Figures:
    """Of points that are arranged."""

    def __init__(self, of: Arranged) -> None:
        self._of = of
        names = next((n for n in (of.settings, of.subjects) if 1 < len(n) <= _COLOURS), [])
        self.legend = list(enumerate(names))
        """Colour and what has it."""
        colours = {name: colour for colour, name in self.legend}
        self._colours = {
            row.key: colours.get(group.setting, colours.get(group.subject, 0))
            for group in of.groups
            for row in group.rows
        }

    def scatters(self) -> list[Scatter]:
        """Accuracy against what it costs, as it is and against the original."""
        unit = f"ms a batch of {batch}" if (batch := self._batch()) else "ms a batch"
        wanted: list[tuple[str, str, str, Measure, str, Measure]] = [
            ("time", "Accuracy against time", unit, LATENCY, "accuracy (%)", ACCURACY),
            ("macs", "Accuracy against multiply-adds", "million multiply-adds", MACS, "accuracy (%)", ACCURACY),
            ("left", "Against the original", "multiply-adds left (%)", MACS_KEPT, "points gained", ACCURACY_CHANGE),
            ("weights", "Against the original", "weights kept (%)", DENSITY, "points gained", ACCURACY_CHANGE),
        ]
        found = {made.name: made for one in wanted if (made := self._scatter(*one))}
        if "time" in found:
            found.pop("macs", None)
        if "left" in found:
            found.pop("weights", None)
        return list(found.values())

    def _batch(self) -> int | None:
        sizes = {row.headline.get("batch_size") for row in self._of.order} - {None}
        return sizes.pop() if len(sizes) == 1 else None

    def _scatter(
        self, name: str, title: str, x_label: str, cost: Measure, y_label: str, gain: Measure
    ) -> Scatter | None:
        x_scale = _SCALES.get(cost, 100.0)
        points = [
            Point(
                x_scale * x,
                100 * y,
                row.key,
                _figures(row, cost, gain),
                f"#p{self._of.numbers[row.key]}",
                self._colours[row.key],
                not row.unmet,
                not self._of.seeded,
                str(self._of.numbers[row.key]),
            )
            for row in self._of.order
            if (x := cost.of(row.headline)) is not None and (y := gain.of(row.headline)) is not None
        ]
        if len(points) < 2:
            return None
        caption = f"{len(points):,} points; the line is the front: those that no other beats in both."
        if self._of.seeded:
            points += self._mean_points(x_scale, cost, gain)
            caption = (
                "Large: the mean over the seeds of a subject under a setting, small: one seed; the line is the front:"
                " means that no other beats in both."
            )
        return scatter(name, title, caption, (x_label, y_label), points)

    def _mean_points(self, x_scale: float, cost: Measure, gain: Measure) -> list[Point]:
        found = []
        for number, group in enumerate(self._of.groups):
            x, y = (group.spread(m) for m in (cost, gain))
            if x.mean is None or y.mean is None:
                continue
            figures = f"mean of {y.n}: {_named(gain, y.shown(gain))}, {_named(cost, x.shown(cost))}"
            rows = " ".join(str(self._of.numbers[row.key]) for row in group.done)
            met = not any(row.unmet for row in group.done)
            found.append(
                Point(
                    x_scale * x.mean,
                    100 * y.mean,
                    group.name,
                    figures,
                    f"#seeds{number}",
                    self._colours[group.rows[0].key],
                    met,
                    True,
                    rows,
                )
            )
        return found


def _figures(row: SweepRow, cost: Measure, gain: Measure) -> str:
    """Of a point in a figure."""
    unmet = "; gate not met" if row.unmet else ""
    return (
        f"{_named(gain, gain.shown(gain.of(row.headline)))}, {_named(cost, cost.shown(cost.of(row.headline)))}{unmet}"
    )


def _named(measure: Measure, text: str) -> str:
    """A figure that says what it is."""
    return {
        ACCURACY: f"accuracy {text}",
        ACCURACY_CHANGE: f"{text} points",
        LATENCY: f"{text} ms",
        MACS: f"{text} multiply-adds",
        MACS_KEPT: f"{text} of the multiply-adds",
        DENSITY: f"{text} of the weights",
    }[measure]
