"""docs/duel.md from the cards: who is how accurate at the same measured time, and where we lose."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from duel.judge import CARDS, ROOT, Card
from duel.summary import by_problem, cpu_seconds, short, shown_seconds, summary
from duel.task import UNITS, Budget
from seam.files import read_json, write_text
from tasks.report.docs_tables import filled
from tasks.report.markdown import table, wrapped

PAGE, README = ROOT / "docs" / "duel.md", ROOT / "README.md"
INTRODUCTION = """# The duel

Structured re-engineering and the strongest rivals: at the same measured time, on the same images, with the same passes
over them. Made by `make duel`, one card (JSON) a problem, budget and seed in `benchmarks/results/duel/`; this page is
rendered from them.

How to read it. Every arm starts from the same trained network and has the same training images and passes, its search
and its gradients included; one of ours has fewer, to save CPU time. Its rate is the best on val of one list, and so
is its loss: *own* is cross-entropy, or with the source's logits as teacher, whichever is better on val; *ours* is our
training, with the outputs of the source's stages as teacher. Val is carved out of the test images, none of which the
source has seen; only the chosen network is measured on what is left, once. Accuracy is the mean over the classes,
\N{PLUS-MINUS SIGN} half of a 95% interval over test images. Times are medians at batch 16, one thread, all networks
of a table in turn in one process; DIR is the share of correct answers that the published feature attack on the
original turns wrong. A row that an arm lost, could not do, or that is doubtful says so.
"""
Rows = Sequence[Card]


def render() -> None:
    """Write docs/duel.md, and the README's table."""
    cards = [read_json(path) for path in sorted(CARDS.glob("*.json"))]
    if cards:
        write_text(PAGE, wrapped(page(cards)))
        write_text(README, filled(README.read_text(), {"duel": lambda: short(cards)}, README.name))
        print(f"wrote {PAGE.name} and the duel's table in {README.name}")


def page(cards: Sequence[Card]) -> str:
    """The text of the page."""
    sections = [_section(found) for found in by_problem(sorted(cards, key=lambda c: c["pilot"]))]
    return "\n".join([INTRODUCTION, summary(cards), *sections, _conditions(cards)])


def said_budget(label: str) -> str:
    """A budget in words."""
    budget = Budget.of(label)
    return f"{budget.percent}% of {UNITS[budget.unit]}"


def _section(cards: Sequence[Card]) -> str:
    first = cards[0]
    seeds = ", ".join(str(c["seed"]) for c in cards)
    pilot = " *Pilot: settings were chosen on it.*" if first["pilot"] else ""
    classes = ", ".join(first["classes"])
    head = (
        f"## {first['problem']}, {said_budget(first['budget'])}\n\n{first['network']}; classes: {classes};"
        f" {sum(first['test_counts'])} test images, {first['val_images']} of val, {first['passes']} passes of"
        f" {first['pass_images']} images, seed{'s' if len(cards) > 1 else ''} {seeds}.{pilot}\n"
    )
    header = ["arm", "training", "rate", *(f"ms, {_ENGINES[e]}" for e in first["engines"]), "% of the original's time"]
    header += ["MACs, %", "accuracy, %", "DIR, %", "CPU s", "doubts"]
    keys = dict.fromkeys((r["arm"], r.get("group")) for c in cards for r in c["rows"])
    of = {k: [r for c in cards for r in c["rows"] if (r["arm"], r.get("group")) == k] for k in keys}
    ranked = sorted(of.values(), key=lambda rows: -_mean(rows, lambda r: r.get("accuracy", -1.0)))
    rows = [_original([c["original"] for c in cards], first["engines"]), *(_row(r, first["engines"]) for r in ranked)]
    return "\n".join([head, table(header, rows), ""])


_ENGINES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


def _original(rows: Rows, engines: Sequence[str]) -> list[str]:
    times = [_time(rows, e) for e in engines]
    return ["the original, head fitted", "none", "", *times, "100", "100", _accuracy(rows), _rate(rows), "", ""]


def _row(rows: Rows, engines: Sequence[str]) -> list[str]:
    measured = [r for r in rows if "lost" not in r]
    name = f"**{rows[0]['label']}**" if rows[0]["kind"] == "ours" else rows[0]["label"]
    doubts = list(dict.fromkeys([r["lost"] for r in rows if "lost" in r] + [d for r in measured for d in r["doubts"]]))
    if not measured:
        return [name, *["\N{EN DASH}"] * (len(engines) + 7), "; ".join(doubts)]
    training = " / ".join(dict.fromkeys(f"{r['group']}: {r['loss']}" for r in measured))
    rates = " / ".join(dict.fromkeys(f"{r['rate']:g}" for r in measured))
    first = engines[0]
    share = "" if "unavailable" in measured[0]["latency"][first] else f"{_share(measured, first):.1f}"
    return [
        name,
        training,
        rates,
        *(_time(measured, e) for e in engines),
        share,
        f"{100 * _mean(measured, lambda r: r['macs_share']):.1f}",
        _accuracy(measured),
        _rate(measured),
        shown_seconds(cpu_seconds(measured)),
        "; ".join(doubts),
    ]


def _share(rows: Rows, engine: str) -> float:
    return 100 * _mean(rows, lambda r: r["latency"][engine]["ratio"])


def _time(rows: Rows, engine: str) -> str:
    if any("unavailable" in r["latency"][engine] for r in rows):
        return "unavailable"
    return f"{_mean(rows, lambda r: r['latency'][engine]['latency_ms_p50']):.2f}"


def _accuracy(rows: Rows) -> str:
    half = _mean(rows, lambda r: r["half_interval"])
    return f"{100 * _mean(rows, lambda r: r['accuracy']):.1f} \N{PLUS-MINUS SIGN} {100 * half:.1f}"


def _rate(rows: Rows) -> str:
    return f"{100 * _mean(rows, lambda r: r['defect_inheritance_rate'] or 0.0):.1f}"


def _mean(rows: Rows, value: Callable[[Card], Any]) -> float:
    return float(statistics.mean(value(r) for r in rows))


def _conditions(cards: Sequence[Card]) -> str:
    machines = dict.fromkeys(_machine(c) for c in cards)
    commands = dict.fromkeys(c["command"] for c in cards)
    lines = "\n".join(f"    {c}" for c in commands)
    return f"## Machine and commands\n\n{' '.join(machines)}\n\n{lines}\n"


def _machine(card: Card) -> str:
    machine, gpus = card["machine"], [d for d in card.get("trained_on", []) if d != "cpu"]
    versions = ", ".join(f"{name} {v}" for name, v in machine["versions"].items())
    trained = f"; trained on {', '.join(gpus)}" if gpus else ""
    vectors = ", ".join(machine["vector_instructions"])
    return f"{machine['cpu']} ({vectors}), {machine['cores']} cores; {versions}{trained}."
