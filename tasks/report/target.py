"""The report of a target: one HTML file that needs nothing else, as `tasks.report.problem`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from seam.methods.catalogue import find
from tasks.project.params import flat
from tasks.project.stage import StageContext
from tasks.report.page import Plot, render
from tasks.report.target_figures import Rows, inheritance, is_ours, method_label, pareto
from tasks.report.trained import remarks, setting_cells, setting_words, were_chosen
from tasks.report.words import NOTHING, show, show_change

_TEMPLATE = "transfer_template.html.j2"
COLUMNS = (
    "accuracy",
    "inherited",
    "above the floor",
    "against standard",
    "by random noise",
    "white-box",
    "kept, start",
    "kept, end",
)
"""Of the table, after the method's name."""


def plots(rows: Rows) -> list[Plot]:
    """The figures of a comparison, the Pareto plot first."""
    removals = (
        "; the labels are the share of the weights removed before training"
        if any(row["removal"] for row in rows.values())
        else ""
    )
    return [
        Plot(
            "pareto",
            "Accuracy against inherited defects",
            f"Means over seeds{removals}. Up and left is better.",
            partial(pareto, rows),
        ),
        Plot(
            "inheritance",
            "Inherited defects",
            "Share of a student's right answers that the attack on the source takes from it. The dashed line: a network"
            " trained from scratch.",
            partial(inheritance, rows),
        ),
    ]


def render_transfer_report(
    context: StageContext, comparison: Mapping[str, Any], attack: Mapping[str, Any], drawn: Sequence[Plot]
) -> str:
    """The whole page, with the figures `drawn`."""
    config = context.params.transfer
    rows = [(method_label(row), _about(row), is_ours(row), cells(row)) for row in comparison["methods"].values()]
    source = f"{config.architecture.split('/')[-1]} with {config.checkpoint.split('/')[-1]}"
    return render(
        _TEMPLATE,
        drawn,
        comparison=comparison,
        attack=attack,
        rows=rows,
        columns=COLUMNS,
        source=source,
        settings=_settings(comparison["methods"]),
        transfer=flat(_section(context)),
    )


def _about(row: Mapping[str, Any]) -> str:
    """What stands below a method's name."""
    return " ".join([find(row["base"]).words, *(f"{text[0].upper()}{text[1:]}." for text in remarks(row))])


def _settings(rows: Rows) -> list[tuple[str, list[tuple[str, str]]]]:
    """Of each method every setting in words and what it gave on val; empty where there was nothing to choose."""
    if not were_chosen(rows):
        return []
    return [
        (method_label(row), [(setting_words(s), setting_cells(s)) for s in row["settings"]]) for row in rows.values()
    ]


def cells(row: Mapping[str, Any]) -> list[str]:
    """The cells of a method's row, in the order of `COLUMNS`."""
    floor = row.get("above_floor")
    standard = (row.get("against_standard") or {}).get("accuracy")
    return [
        _mean(row["accuracy"]),
        _mean(row["defect_inheritance_rate"]),
        _interval(floor),
        _interval(standard),
        show(row["noise"]["mean"], "fraction"),
        show(row["pgd"]["mean"], "fraction"),
        show(row["density_start"]["mean"], "fraction"),
        show(row["density_end"]["mean"], "fraction"),
    ]


def _mean(spread: Mapping[str, float | None]) -> str:
    mean, deviation = spread["mean"], spread["sd"]
    text = show(mean, "fraction")
    return text if mean is None or deviation is None else f"{text} ± {100 * deviation:.2f}"


def _interval(found: Mapping[str, float] | None) -> str:
    """A difference in points, and its confidence interval."""
    if found is None:
        return NOTHING
    low, high = (f"{100 * found[end]:+.1f}".replace("-", "\N{MINUS SIGN}") for end in ("low", "high"))
    return f"{show_change(0.0, found['difference'], 'fraction').removesuffix(' points')} [{low}, {high}]"


def _section(context: StageContext) -> dict[str, Any]:
    dumped = context.params.model_dump(mode="json")
    return {
        "seed": dumped["seed"],
        "target": dumped["targets"][context.name],
        "transfer": dumped["transfer"],
        "attack": dumped["evaluate_robustness"],
    }
