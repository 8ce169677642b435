"""Which classes are taken for which, by one network and by another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor

from tasks.report.figures import THIRD, new_figure
from tasks.report.heat import SHADES, put_names
from tasks.report.page import Plot

_MOST_NUMBERS = 12
"""Classes up to which every cell has its number."""


def confusion(logits: Float[Tensor, "images outputs"], labels: Int[Tensor, " images"], classes: int) -> list[list[int]]:
    """How many images of each class (rows) the largest logit takes for each class (columns).

    Args:
        logits: of the classes, in the order of the labels.
        labels: of the images.
        classes: how many there are.
    """
    pairs = labels * classes + logits.argmax(1)
    counts: list[list[int]] = pairs.bincount(minlength=classes**2).view(classes, classes).tolist()
    return counts


def confusion_plot(
    name: str, title: str, caption: str, counts: Sequence[Sequence[int]], classes: Sequence[str], marked: str = ""
) -> Plot:
    """A heat map of `confusion`.

    Args:
        name: of the file.
        title: above it.
        caption: below it, what it shows.
        counts: as `confusion` gives them.
        classes: their names, in the order of the rows.
        marked: a class whose row and column stand out; empty: none.
    """
    return Plot(name, title, caption, partial(_drawn, counts, classes, marked))


def _drawn(counts: Sequence[Sequence[int]], classes: Sequence[str], marked: str) -> Figure:
    """Share of each row, dark is much; numbers of images in the cells where there are few classes."""
    figure, axes = new_figure(4.2)
    shares = [[value / max(1, sum(row)) for value in row] for row in counts]
    axes.imshow(shares, cmap=SHADES, vmin=0, vmax=1)
    put_names(axes.set_yticks, classes)
    put_names(axes.set_xticks, classes, rotation=90)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        if label.get_text() == marked:
            label.set(color=THIRD, fontweight="bold")
    if len(classes) <= _MOST_NUMBERS:
        for i, row in enumerate(counts):
            for j, value in enumerate(row):
                if value:
                    dark = shares[i][j] > 0.5
                    axes.text(j, i, str(value), ha="center", va="center", fontsize=6, color="white" if dark else None)
    axes.set(xlabel="taken for", ylabel="is")
    axes.grid(visible=False)
    return figure
