"""The report of a problem: one HTML file that needs nothing else, for a phone, a screen, the light and the dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tasks import figures
from tasks.card import PAPER, Evidence, shown_value
from tasks.closing import LABELS, NOTHING, ClosingRow, closing_table, show, show_change
from tasks.stage import StageContext

_TEMPLATE = "report_template.html.j2"
_BASELINES = ("source", "restricted", "head_only", "standard_finetuned", "reengineered", "reengineered_finetuned")


@dataclass(frozen=True)
class Plot:
    """One figure of the report."""

    name: str
    """File name, and prefix of its ids."""
    title: str
    caption: str
    """What it shows in words, for those who cannot see it too."""
    draw: figures.Draw

    @cached_property
    def svg(self) -> str:
        """The drawing, a file of its own."""
        return figures.to_svg(self.draw)


@dataclass(frozen=True)
class Tile:
    """One headline number."""

    label: str
    value: str
    change: str
    detail: str
    good: bool | None
    """None: neither better nor worse."""


def plots(evidence: Evidence, model: str) -> list[Plot]:
    """The figures of a problem, in reading order."""
    best, source = evidence.search["best_round"], evidence.evaluated["source"]
    chosen = (evidence.search["density"], evidence.search["val_accuracy"])
    layers = evidence.layer_density
    densest, thinnest = (f(layers, key=lambda n: layers[n]) for f in (max, min))
    timed = any("unavailable" not in r for r in evidence.latency.values())
    made = [
        Plot(
            "convergence",
            "Convergence of the search",
            f"{len(evidence.history)} rounds; round {best} was chosen on the validation images: {chosen[0]:.1%} of the weights, {chosen[1]:.1%} val accuracy.",
            partial(figures.convergence, evidence.history, best, evidence.search["source_val_accuracy"]),
        ),
        Plot(
            "density_per_layer",
            "Weights kept, layer by layer",
            f"Most is kept in {densest} ({layers[densest]:.1%}), least in {thinnest} ({layers[thinnest]:.1%}).",
            partial(figures.density_per_layer, layers),
        ),
        Plot(
            "accuracy_per_class",
            "Accuracy on each class",
            f"On the {source['num_images']} test images, before and after; overall {source['accuracy']:.2%} and {evidence.evaluated[model]['accuracy']:.2%}.",
            partial(figures.accuracy_per_class, source["accuracy_per_class"], evidence.evaluated[model]["accuracy_per_class"]),
        ),
        Plot(
            "defect_inheritance",
            "Defects inherited from the original",
            "Share of the adversarial images, made from the original alone, that also fool each model.",
            partial(figures.defect_inheritance, evidence.attacked),
        ),
    ]
    if timed:
        caption = "Median of interleaved runs; grey: original, coloured: re-engineered."
        made.append(Plot("latency", "Time for one batch", caption, partial(figures.latency, evidence.latency)))
    if len(evidence.frontier) > 1:
        caption = f"{len(evidence.frontier)} candidates that no other beats in both; the chosen one keeps {chosen[0]:.1%}."
        made.append(Plot("frontier", "Weights kept against accuracy", caption, partial(figures.frontier, evidence.frontier, chosen)))
    return made


def render_report(context: StageContext, card: Mapping[str, Any], evidence: Evidence, drawn: Sequence[Plot]) -> str:
    """The whole page, with the figures `drawn`."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters["shown"] = shown_value
    shown = [(plot, Markup(figures.inline(plot.svg, plot.name, f"{plot.title}. {plot.caption}"))) for plot in drawn]
    rows = closing_table(context.root, [str(context.problem)])
    return environment.get_template(_TEMPLATE).render(
        card=card,
        tiles=tiles(rows, evidence, card["model"]),
        rows=rows,
        figures=shown,
        baselines=baselines(evidence),
        robustness=robustness(evidence),
        labels=LABELS,
        paper=PAPER,
        nothing=NOTHING,
        shaped=shaped(card["classes"], evidence.source["classes"]),
    )


def tiles(rows: Sequence[ClosingRow], evidence: Evidence, model: str) -> list[Tile]:
    """The headline: weights, accuracy, inherited defects, time."""
    source, ours = evidence.evaluated["source"], evidence.evaluated[model]
    share = ours["params_nonzero"] / source["params_nonzero"]
    made = [
        Tile(
            "weights kept",
            f"{share:.1%}",
            show_change(source["params_nonzero"], ours["params_nonzero"], "count"),
            f"{show(ours['params_nonzero'], 'count')} of {show(source['params_nonzero'], 'count')}",
            share < 1,
        ),
        Tile(
            "test accuracy",
            show(ours["accuracy"], "fraction"),
            show_change(source["accuracy"], ours["accuracy"], "fraction"),
            f"original {show(source['accuracy'], 'fraction')}, {ours['num_images']} images",
            None if ours["accuracy"] == source["accuracy"] else ours["accuracy"] > source["accuracy"],
        ),
    ]
    before, after = (evidence.attacked.get(m, {}).get("defect_inheritance_rate") for m in ("standard_finetuned", "reengineered_finetuned"))
    if before is not None and after is not None:
        detail = f"original, fine-tuned as well: {show(before, 'fraction')}"
        good = None if before == after else after < before
        made.append(Tile("inherited defects", show(after, "fraction"), show_change(before, after, "fraction"), detail, good))
    timed = [row for row in rows if row.kind == "milliseconds" and row.change != NOTHING]
    if timed:
        row = next((r for r in timed if r.quantity.endswith("batch 16")), timed[-1])
        label = row.quantity.replace("latency p50, ", "time, ")
        made.append(Tile(label, show(row.final, "milliseconds"), row.change, f"original {row.cells[0]}", row.improved))
    return made


def baselines(evidence: Evidence) -> list[tuple[str, bool, list[str]]]:
    """(name, whether it is ours, cells) of every model evaluated."""
    models = {**evidence.evaluated, **evidence.evaluated.get("baselines", {})}
    keys = (("accuracy", "fraction"), ("params_nonzero", "count"), ("density", "fraction"), ("macs_nonzero", "count"))
    return [(LABELS[n], n.startswith("reengineered"), [show(models[n].get(k), kind) for k, kind in keys]) for n in _BASELINES if n in models]  # type: ignore[arg-type]


def robustness(evidence: Evidence) -> list[tuple[str, bool, list[str]]]:
    """(name, whether it is ours, cells) of every model attacked; the last cell is the control, random noise of the same budget."""
    keys = ("accuracy", "robust_accuracy", "defect_inheritance_rate")
    noise = evidence.attack.get("random_noise", {})
    found = []
    for name in (n for n in LABELS if n in evidence.attacked):
        cells = [show(evidence.attacked[name].get(key), "fraction") for key in keys]
        found.append((LABELS[name], name.startswith("reengineered"), [*cells, show(noise.get(name, {}).get("defect_inheritance_rate"), "fraction")]))
    return found


def shaped(classes: Sequence[str], source_classes: Sequence[str]) -> str:
    """The target problem in words."""
    if len(classes) == 2 and classes[1] == "other":
        return f"class {classes[0]} against the rest of {len(source_classes)}"
    if len(classes) == len(source_classes):
        return f"all {len(classes)} classes"
    return f"{len(classes)} of {len(source_classes)} classes: {', '.join(classes[:12])}{', …' if len(classes) > 12 else ''}"
