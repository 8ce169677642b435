"""A figure of many named points and the front among them, as numbers that a template draws: each can be pointed at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 440, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 26, 42
_LETTER = 11.0
_DECADES = 20
"""Largest over smallest cost from which the axis is logarithmic."""


@dataclass(frozen=True)
class Point:
    """What is put at (cost, gain)."""

    cost: float
    gain: float
    name: str
    figures: str
    """In words."""
    href: str
    """Where the page tells more of it."""
    colour: int
    """Of the palette."""
    met: bool = True
    """Whether it meets its gates: others are hollow."""
    leads: bool = True
    """Whether it may be on the front: single seeds may not where means are drawn."""
    rows: str = ""
    """Numbers of the table's rows that it stands for."""


@dataclass(frozen=True)
class Dot:
    """A point on paper."""

    x: float
    y: float
    point: Point
    on_front: bool
    letter: str
    """Of those on the front."""
    apart: bool
    """Whether there is room for the letter."""


@dataclass(frozen=True)
class Scatter:
    """The figure; up and to the left is better."""

    name: str
    title: str
    caption: str
    x_label: str
    y_label: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    dots: list[Dot]
    steps: str
    """The front as a path."""

    @property
    def leaders(self) -> list[Dot]:
        """Dots on the front, the cheapest first."""
        return sorted((dot for dot in self.dots if dot.on_front), key=lambda dot: dot.x)

    @property
    def area(self) -> tuple[int, int, int, int]:
        """Left, right, top and bottom of where the dots are."""
        return _LEFT, WIDTH - _RIGHT, _TOP, HEIGHT - _BOTTOM


def scatter(name: str, title: str, caption: str, labels: tuple[str, str], points: Sequence[Point]) -> Scatter:
    """Lay out a figure.

    Args:
        name: prefix of ids.
        title: above it.
        caption: below it.
        labels: of the axes, x first.
        points: one or more.
    """
    leaders = [number for number, point in enumerate(points) if point.leads]
    led = front([(points[number].cost, points[number].gain) for number in leaders])
    letters = {leaders[number]: _letter(rank) for rank, number in enumerate(led)}
    across, down = _Axis.of([p.cost for p in points], may_be_log=True), _Axis.of([p.gain for p in points])
    places = [
        (
            round(_LEFT + across.at(p.cost) * (WIDTH - _LEFT - _RIGHT), 1),
            round(HEIGHT - _BOTTOM - down.at(p.gain) * (HEIGHT - _TOP - _BOTTOM), 1),
        )
        for p in points
    ]
    roomy = _apart([(places[leaders[n]], leaders[n]) for n in led])
    dots = [Dot(*places[n], p, n in letters, letters.get(n, ""), n in roomy) for n, p in enumerate(points)]
    dots.sort(key=lambda dot: (dot.on_front, dot.point.leads))
    corners = [places[leaders[number]] for number in led]
    return Scatter(
        name,
        title,
        caption,
        *labels,
        [(round(_LEFT + across.at(v) * (WIDTH - _LEFT - _RIGHT), 1), text) for v, text in across.ticks()],
        [(round(HEIGHT - _BOTTOM - down.at(v) * (HEIGHT - _TOP - _BOTTOM), 1), text) for v, text in down.ticks()],
        dots,
        _steps(corners),
    )


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which points (cost, gain) no other beats: none is as cheap and as good, and better in one; the cheapest first."""
    best, last, found = float("-inf"), None, []
    for number in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if points[number][1] > best or points[number] == last:
            best, last = points[number][1], points[number]
            found.append(number)
    return found


def _apart(places: Sequence[tuple[tuple[float, float], int]]) -> set[int]:
    """Numbers of the places that are not too near to one before them."""
    found: list[tuple[tuple[float, float], int]] = []
    for place, number in places:
        if all(math.dist(place, other) >= _LETTER for other, _ in found):
            found.append((place, number))
    return {number for _, number in found}


def _letter(rank: int) -> str:
    """A, B, ... Z, and numbers after that."""
    return chr(ord("A") + rank) if rank < 26 else f"Z{rank - 25}"


def _steps(corners: Sequence[tuple[float, float]]) -> str:
    """What is as good as the front: level to the next corner, then up."""
    if not corners:
        return ""
    path = f"M{corners[0][0]} {HEIGHT - _BOTTOM}V{corners[0][1]}"
    path += "".join(f"H{x}V{y}" for x, y in corners[1:])
    return f"{path}H{WIDTH - _RIGHT}"


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    log: bool

    @classmethod
    def of(cls, values: Sequence[float], may_be_log: bool = False) -> _Axis:
        """With a little room at both ends."""
        low, high = min(values), max(values)
        if may_be_log and low > 0 and high / low > _DECADES:
            return cls(low / 1.15, high * 1.15, True)
        room = max(0.06 * (high - low), 0.005 * abs(high)) or 1.0
        return cls(low - room, high + room, False)

    def at(self, value: float) -> float:
        """Share of the way along the axis."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[tuple[float, str]]:
        """Some round values, and how they are written."""
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            values = [digit * 10.0**power for power in range(first, last + 1) for digit in (1, 2, 5)]
            inside = [value for value in values if self.low <= value <= self.high]
            if len(inside) > 7:
                inside = [value for value in inside if f"{value:e}".startswith("1")]
            return [(value, f"{value:,.10g}") for value in inside]
        step = _round_step((self.high - self.low) / 7)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        numbers = range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)
        return [(n * step, f"{n * step:,.{digits}f}".replace("-", "\N{MINUS SIGN}")) for n in numbers]


def _round_step(rough: float) -> float:
    """1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
