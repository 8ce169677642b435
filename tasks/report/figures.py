"""Figures of the report and of the MLflow run, drawn from the result files; the same data give the same bytes.

Every figure is drawn once. MLflow gets it with the colours of the light palette; inside the page
they become the names of the page's colours, so that one drawing reads well in the light and in the
dark.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tasks.project.measured import MEASURED

INK, FAINT, BEFORE, AFTER, THIRD = "#1c2430", "#c9d1da", "#6b7a8f", "#0a6e83", "#b4530a"
_PALETTE = {INK: "--ink", FAINT: "--line", BEFORE: "--before", AFTER: "--after", THIRD: "--third"}
_STYLE: Any = {
    "svg.hashsalt": "seam",
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 9,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}
_WIDTH = 4.5  # inches: on a phone's 350 pixels the text is still 9 pixels high
_MOST_CLASSES = 20
Draw = Callable[[], Figure]


def to_svg(draw: Draw) -> str:
    """The figure as a file of its own, on white."""
    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        draw().savefig(buffer, format="svg", facecolor="white", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def inline(svg: str, name: str, description: str) -> str:
    """What `to_svg` drew as an element of the page, in its palette, on its ground.

    Ids start with `name`; `description` is read out by screen readers.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(url\(|href=")#', rf"\1#{name}-", svg)
    svg = re.sub(
        r'<svg ([^>]*?)width="[^"]*" ?',
        r"<svg \1",
        re.sub(r'<svg ([^>]*?)height="[^"]*" ?', r"<svg \1", svg, count=1),
        count=1,
    )
    svg = svg.replace("fill: #ffffff", "fill: none")
    for color, variable in _PALETTE.items():
        svg = svg.replace(color, f"var({variable})")
    svg = svg.replace("'DejaVu Sans'", "system-ui, 'DejaVu Sans'")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{_attribute(description)}" ', 1)


def convergence(history: Sequence[Mapping[str, float]], best_round: int, source_val_accuracy: float) -> Figure:
    """Weights kept and val accuracy by round (as the paper's figure 5), the chosen round marked."""
    figure, axes = new_figure(2.9)
    rounds = [row["round"] for row in history]
    for key, color, label in (("density", AFTER, "weights kept"), ("val_accuracy", THIRD, "val accuracy")):
        axes.plot(rounds, [100 * row[key] for row in history], color=color, label=label, linewidth=1.8)
        chosen = [100 * row[key] for row in history if row["round"] == best_round]
        axes.plot([best_round] * len(chosen), chosen, "o", color=color, markersize=5)
    axes.axhline(
        100 * source_val_accuracy, color=BEFORE, linewidth=1, linestyle=(0, (4, 3)), label="original's val accuracy"
    )
    axes.axvline(best_round, color=FAINT, linewidth=1)
    axes.annotate(
        f"chosen: {best_round}",
        (best_round, 3),
        xytext=(-4, 0),
        textcoords="offset points",
        ha="right" if best_round > max(rounds) / 3 else "left",
    )
    axes.set(xlabel="round", ylabel="%", ylim=(0, 104))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    legend(axes, 3)
    return figure


def frontier(points: Sequence[Mapping[str, float]], chosen: tuple[float, float]) -> Figure:
    """Best val accuracy for each share of weights kept."""
    figure, axes = new_figure(2.9)
    kept, accuracy = ([100 * p[key] for p in points] for key in ("density", "val_accuracy"))
    axes.plot(kept, accuracy, "o-", color=AFTER, markersize=3.5, linewidth=1, label="candidates")
    axes.plot([100 * chosen[0]], [100 * chosen[1]], "D", color=THIRD, markersize=6, label="chosen")
    axes.set(xlabel="weights kept (%)", ylabel="val accuracy (%)")
    legend(axes, 2)
    return figure


def gains(original: Mapping[str, Any], candidates: Sequence[Mapping[str, Any]]) -> Figure:
    """Val accuracy of each candidate against what it leaves of weights, multiply-adds and time on each engine."""
    figure, axes = new_figure(3.1)
    names = {"density": "weights", "macs": "multiply-adds"} | {
        key: f"time, {key.removesuffix('_ms')}" for key in original if key.endswith("_ms")
    }
    accuracy = [100 * row["val_accuracy"] for row in candidates]
    styles = [(color, marker) for marker in ("o-", "s--", "^:") for color in (AFTER, THIRD, BEFORE, INK)]
    for (key, label), (color, style) in zip(names.items(), styles, strict=False):
        if isinstance(original[key], (int, float)):
            axes.plot(
                [100 * row[key] / original[key] for row in candidates],
                accuracy,
                style,
                color=color,
                markersize=3.5,
                linewidth=1,
                label=label,
            )
    axes.axhline(100 * original["val_accuracy"], color=FAINT, linewidth=1)
    axes.set(xlabel="left of the original (%)", ylabel="val accuracy (%)")
    legend(axes, 3)
    return figure


def density_per_layer(densities: Mapping[str, float]) -> Figure:
    """Share of weights kept in each layer, from input to output."""
    figure, axes = new_figure(2.6)
    values = [100 * d for d in densities.values()]
    axes.bar(range(1, len(values) + 1), values, color=AFTER, width=0.8)
    axes.set(xlabel="layer, from input to output", ylabel="weights kept (%)", ylim=(0, max([5.0, *values]) * 1.08))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.grid(axis="x", visible=False)
    return figure


def accuracy_per_class(before: Mapping[str, float | None], after: Mapping[str, float | None]) -> Figure:
    """Accuracy on each class, original and re-engineered; with many classes, those that changed most."""
    before, after = ({n: v for n, v in side.items() if v is not None} for side in (before, after))
    names = sorted(before.keys() & after.keys(), key=lambda n: -abs(after[n] - before[n]))[:_MOST_CLASSES]
    names = [n for n in before if n in names]
    figure, axes = new_figure(1.1 + 0.24 * len(names))
    rows = list(range(len(names)))[::-1]
    pairs = [(100 * before[n], 100 * after[n]) for n in names]
    axes.hlines(rows, [min(p) for p in pairs], [max(p) for p in pairs], color=FAINT, linewidth=3)
    axes.plot([p[0] for p in pairs], rows, "o", color=BEFORE, markersize=8, label="original")
    axes.plot([p[1] for p in pairs], rows, "o", color=AFTER, markersize=4.5, label="re-engineered")
    axes.set_yticks(rows, [n if len(n) <= 18 else f"{n[:17]}…" for n in names])
    low = min([100.0, *[v for p in pairs for v in p]])
    axes.set(
        xlabel="accuracy (%)",
        xlim=(low - max(1.0, 0.08 * (100 - low)), 100 + max(0.5, 0.04 * (100 - low))),
        ylim=(-0.6, len(names) - 0.4),
    )
    legend(axes, 2)
    return figure


def defect_inheritance(attacked: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Defect inheritance rate of each model; less is better."""
    names = [n for n in MEASURED if n in attacked and attacked[n].get("defect_inheritance_rate") is not None]
    values = [100 * attacked[n]["defect_inheritance_rate"] for n in names]
    colors = [AFTER if MEASURED[n].has_searched_mask else BEFORE for n in names]
    figure, axes = new_figure(0.7 + 0.42 * max(1, len(names)))
    bars(axes, [MEASURED[n].label.replace(", ", ",\n") for n in names], values, [f"{v:.1f}%" for v in values], colors)
    axes.set(xlabel="inherited defects (%), less is better", xlim=(0, max([1.0, *values]) * 1.18))
    return figure


def latency(measured: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Median time of each engine and batch size, relative to the original."""
    labels, values, texts, colors = [], [], [], []
    for engine, result in measured.items():
        if "unavailable" in result:
            continue
        for batch, before in result["source"].items():
            first = before["latency_ms_p50"]
            for model, label, color in (
                ("source", f"{engine}, {batch.removeprefix('batch')}", BEFORE),
                ("reengineered", "", AFTER),
                ("compacted", "compacted", AFTER),
            ):
                measured_here = result.get(model, {}).get(batch)
                if measured_here is not None:
                    labels.append(label)
                    values.append(100 * measured_here["latency_ms_p50"] / first)
                    texts.append(f"{measured_here['latency_ms_p50']:.3g} ms")
                    colors.append(color)
    figure, axes = new_figure(0.9 + 0.26 * max(2, len(values)))
    bars(axes, labels, values, texts, colors)
    axes.set(xlabel="median time (%), original = 100; engine, batch size", xlim=(0, max([100.0, *values]) * 1.22))
    return figure


def new_figure(height: float) -> tuple[Figure, Axes]:
    """A figure of the report's width, `height` inches high."""
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    return figure, figure.add_subplot()


def legend(axes: Axes, columns: int) -> None:
    """The legend above the plot."""
    axes.legend(
        loc="lower center",
        bbox_to_anchor=(0.45, 1.0),
        ncols=columns,
        columnspacing=1.2,
        handlelength=1.4,
        borderaxespad=0.2,
    )


def bars(
    axes: Axes, labels: Sequence[str], values: Sequence[float], texts: Sequence[str], colors: Sequence[str]
) -> None:
    """Horizontal bars, the first on top, each with its text."""
    rows = list(range(len(labels)))[::-1]
    axes.barh(rows, values, color=colors, height=0.72)
    for row, value, text in zip(rows, values, texts, strict=True):
        axes.annotate(text, (value, row), xytext=(4, 0), textcoords="offset points", va="center")
    axes.set_yticks(rows, labels)
    axes.grid(axis="y", visible=False)


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
