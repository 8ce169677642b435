"""The report of a problem: one HTML file that needs nothing else, for a phone, a screen, the light and the dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from seam.hardware import in_words
from tasks.benchmark.kinds_compared import KINDS
from tasks.project.measured import MEASURED, SAME_DENSITY
from tasks.project.stage import StageContext
from tasks.report import figures
from tasks.report.agreement import agreement_rows
from tasks.report.card import PAPER, Evidence, attribution
from tasks.report.closing import ClosingRow, closing_table
from tasks.report.layouts import layout_text, tried_rows
from tasks.report.page import Plot, render
from tasks.report.words import NOTHING, VAL_FROM, show, show_change

_TEMPLATE = "report_template.html.j2"


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
    return [*_search_plots(evidence), *_model_plots(evidence, model), *_saving_plots(evidence)]


def _search_plots(evidence: Evidence) -> list[Plot]:
    """How the search went and what it kept."""
    best, layers = evidence.search["best_round"], evidence.layer_density
    densest, thinnest = (f(layers, key=lambda n: layers[n]) for f in (max, min))
    return [
        Plot(
            "convergence",
            "Convergence of the search",
            f"{len(evidence.history)} rounds; round {best} was chosen on the validation images:"
            f" {evidence.search['density']:.1%} of the weights, {evidence.search['val_accuracy']:.1%} val accuracy.",
            partial(figures.convergence, evidence.history, best, evidence.search["source_val_accuracy"]),
        ),
        Plot(
            "density_per_layer",
            "Weights kept, layer by layer",
            f"Most is kept in {densest} ({layers[densest]:.1%}), least in {thinnest} ({layers[thinnest]:.1%}).",
            partial(figures.density_per_layer, layers),
        ),
    ]


def _model_plots(evidence: Evidence, model: str) -> list[Plot]:
    """What the model answers, beside the original."""
    source, ours = evidence.evaluated["source"], evidence.evaluated[model]
    return [
        Plot(
            "accuracy_per_class",
            "Accuracy on each class",
            f"On the {source['num_images']} test images, before and after; overall {source['accuracy']:.2%} and"
            f" {ours['accuracy']:.2%}.",
            partial(figures.accuracy_per_class, source["accuracy_per_class"], ours["accuracy_per_class"]),
        ),
        Plot(
            "defect_inheritance",
            "Defects inherited from the original",
            "Share of the adversarial images, made from the original alone, that also fool each model.",
            partial(figures.defect_inheritance, evidence.attacked),
        ),
    ]


def _saving_plots(evidence: Evidence) -> list[Plot]:
    """Time and weights saved, as far as they were measured."""
    made = []
    if any("unavailable" not in r for r in evidence.latency.values()):
        caption = "Median of interleaved runs; grey: original, coloured: re-engineered."
        made.append(Plot("latency", "Time for one batch", caption, partial(figures.latency, evidence.latency)))
    if len(evidence.timed_frontier) > 1:
        original, *candidates = evidence.timed_frontier
        caption = (
            "Each candidate of the search, before fine-tuning: what is left of weights, multiply-adds and time. The"
            " line is the original's accuracy."
        )
        drawing = partial(figures.gains, original, candidates)
        made.append(Plot("gains", "What each candidate would save", caption, drawing))
    if len(evidence.frontier) > 1:
        chosen = (evidence.search["density"], evidence.search["val_accuracy"])
        caption = f"{len(evidence.frontier)} candidates of one search; the chosen one keeps {chosen[0]:.1%}."
        drawing = partial(figures.frontier, evidence.frontier, chosen)
        made.append(Plot("frontier", "Weights kept against accuracy", caption, drawing))
    return made


def render_report(context: StageContext, card: Mapping[str, Any], evidence: Evidence, drawn: Sequence[Plot]) -> str:
    """The whole page, with the figures `drawn`."""
    rows = closing_table(context.root, [context.name])
    channels = evidence.search.get("channels")
    return render(
        _TEMPLATE,
        drawn,
        card=card,
        tiles=tiles(rows, evidence, card["model"]),
        rows=rows,
        baselines=baselines(evidence),
        channels=channels and layout_text(channels),
        tried=tried_rows(channels) if channels else [],
        predicted=evidence.predicted and evidence.predicted.text,
        attribution=attribution_text(evidence),
        robustness=robustness(evidence),
        paper=PAPER,
        shaped=shaped(card["classes"], evidence.source["classes"]),
        val_from=VAL_FROM[evidence.split["val_from"]],
        computed_on=computed_on(evidence),
        timed_on=in_words(evidence.export["hardware"]),
        kinds=KINDS,
        agreement=agreement_rows(evidence.export.get("agreement", {})),
    )


def computed_on(evidence: Evidence) -> dict[str, str]:
    """Machine, in words -> the stages that ran there: results travel."""
    stages = {
        "prepare_source": evidence.source,
        "search": evidence.search,
        "finetune": evidence.finetuned,
        "evaluate": evidence.evaluated,
        "evaluate_robustness": evidence.attack,
    }
    found: dict[str, list[str]] = {}
    for stage, results in stages.items():
        found.setdefault(results.get("computed_on") or "not known", []).append(stage)
    return {machine: ", ".join(names) for machine, names in found.items()}


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
    before, after = (
        evidence.attacked.get(m, {}).get("defect_inheritance_rate")
        for m in ("standard_finetuned", "reengineered_finetuned")
    )
    if before is not None and after is not None:
        detail = f"original, fine-tuned as well: {show(before, 'fraction')}"
        good = None if before == after else after < before
        made.append(
            Tile("inherited defects", show(after, "fraction"), show_change(before, after, "fraction"), detail, good)
        )
    timed = [row for row in rows if row.kind == "milliseconds" and row.change != NOTHING]
    if timed:
        row = next((r for r in timed if r.quantity.endswith("batch 16")), timed[-1])
        label = row.quantity.replace("latency p50, ", "time, ")
        made.append(Tile(label, show(row.final, "milliseconds"), row.change, f"original {row.cells[0]}", row.improved))
    return made


def baselines(evidence: Evidence) -> list[tuple[str, str, bool, list[str]]]:
    """(name, what it is, whether it is ours, cells) of every model evaluated."""
    models = {**evidence.evaluated, **evidence.evaluated.get("baselines", {})}
    keys = (("accuracy", "fraction"), ("params_nonzero", "count"), ("density", "fraction"), ("macs_nonzero", "count"))
    found = []
    for name, row in MEASURED.items():
        if name in models:
            cells = [show(models[name].get(key), kind) for key, kind in keys]  # type: ignore[arg-type]
            found.append((row.label, row.words, row.has_searched_mask, cells))
    return found


def attribution_text(evidence: Evidence) -> str:
    """What the head and what the mask does to the test accuracy, and what other masks of that density do.

    Empty where not measured.
    """
    changes = attribution(evidence.evaluated)
    parts = []
    if "head_only" in changes:
        parts.append(f"The new head alone, with all weights, {_effect(changes['head_only'])} against the original.")
    if "adapted" in changes:
        parts.append(f"Training the normalisation layers too {_effect(changes['adapted'])} against that.")
    if "reengineered_refit" in changes:
        parts.append(
            f"The searched mask, with the same training, {_effect(changes['reengineered_refit'])} against all weights."
        )
    others = [
        f"the {MEASURED[n].label.split(',')[0]} {_effect(changes[n])}"
        for n in SAME_DENSITY
        if n in changes and n != "reengineered_refit"
    ]
    if others:
        parts.append(f"So measured and at the same density, {', '.join(others)}.")
    if parts:
        parts.append(f"One test image is {100 / evidence.evaluated['source']['num_images']:.2f} points.")
    return " ".join(parts)


def _effect(change: float) -> str:
    """A change of the accuracy, in words."""
    return f"{'gains' if change > 0 else 'costs'} {100 * abs(change):.2f} points" if change else "changes nothing"


def robustness(evidence: Evidence) -> list[tuple[str, bool, list[str]]]:
    """(name, whether it is ours, cells) of every model attacked.

    The last cell is the control, random noise of the same budget.
    """
    keys = ("accuracy", "robust_accuracy", "defect_inheritance_rate")
    noise = evidence.attack.get("random_noise", {})
    found = []
    for name in (n for n in MEASURED if n in evidence.attacked):
        cells = [show(evidence.attacked[name].get(key), "fraction") for key in keys]
        found.append(
            (
                MEASURED[name].label,
                MEASURED[name].has_searched_mask,
                [*cells, show(noise.get(name, {}).get("defect_inheritance_rate"), "fraction")],
            )
        )
    return found


def shaped(classes: Sequence[str], source_classes: Sequence[str]) -> str:
    """The target problem in words."""
    if len(classes) == 2 and classes[1] == "other":
        return f"class {classes[0]} against the rest of {len(source_classes)}"
    if len(classes) == len(source_classes):
        return f"all {len(classes)} classes"
    return (
        f"{len(classes)} of {len(source_classes)} classes:"
        f" {', '.join(classes[:12])}{', …' if len(classes) > 12 else ''}"
    )
