"""Ours against the best single rival, over problems: with every rival's own training, and with ours given to all."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from duel.differences import Estimate, difference, mean_of, unpacked
from tasks.report.markdown import table

Card = dict[str, Any]
_TITLES = {
    "own": "Each rival with its own best training",
    "ours": "Our training given to every rival",
}


def summary(cards: Sequence[Card]) -> str:
    """A table for each budget and training of the rivals, blind problems alone."""
    blind = [c for c in cards if not c["pilot"]]
    parts = ["## Summary, blind problems\n"]
    for budget in dict.fromkeys(c["budget"] for c in blind):
        of_budget = [c for c in blind if c["budget"] == budget]
        parts += [_of_group(of_budget, budget, group) for group in _TITLES]
    return "\n".join(parts if len(parts) > 1 else [*parts, "No card of a blind problem yet.\n"])


def _of_group(cards: Sequence[Card], budget: str, group: str) -> str:
    from duel.page import said_budget

    head = f"### {_TITLES[group]}, {said_budget(budget)}\n"
    compared = [found for name in dict.fromkeys(c["problem"] for c in cards) if (found := _problem(cards, name, group))]
    if not compared:
        return f"{head}\nNo problem has both a network of ours and one of a rival.\n"
    single = _best_single(compared)
    rows = [_compared(c, single) for c in compared]
    header = [
        "problem",
        "our best by val",
        "accuracy, %",
        "its best rival by test",
        "accuracy, %",
        "ours above it, points",
    ]
    header.append(f"ours above {single}, points")
    against = [c["rivals"][single][1] for c in compared if single in c["rivals"]]
    worst = min(c["rivals"][c["best"]][1].value for c in compared)
    verdict = (
        f"Mean over {len(against)} problem{'s' if len(against) > 1 else ''} above the best single rival ({single}):"
        f" **{_points(mean_of(against))}** points; worst difference to the best rival of a problem:"
        f" **{100 * worst:+.1f}** points{' (lost)' if worst < 0 else ''}.\n"
    )
    return "\n".join([head, table(header, rows), "", verdict])


def _compared(found: Card, single: str) -> list[str]:
    rival = found["rivals"][found["best"]]
    against = _points(found["rivals"][single][1]) if single in found["rivals"] else "no layout"
    cells = [found["problem"], found["ours"], _percent(found["accuracy"]), found["best"]]
    return [*cells, _percent(rival[0]), _points(rival[1]), against]


def _problem(cards: Sequence[Card], name: str, group: str) -> Card | None:
    """Ours and the rivals on one problem, mean over its seeds."""
    mine = [c for c in cards if c["problem"] == name]
    ours = _by_label(mine, "ours", "ours") or _by_label(mine, "ours", "own")
    rivals = _by_label(mine, "rival", group)
    if not ours or not rivals:
        return None
    best = max(ours, key=lambda label: statistics.mean(r["val_accuracy"] for r in ours[label]))
    counts, number = mine[0]["test_counts"], sum(mine[0]["test_counts"])

    def answers(rows: Sequence[Card]) -> list[Any]:
        return [unpacked(r["answers"], number) for r in rows]

    found = {
        label: (_accuracy(rows), difference(answers(ours[best]), answers(rows), counts))
        for label, rows in rivals.items()
    }
    return {
        "problem": name,
        "ours": best,
        "accuracy": _accuracy(ours[best]),
        "rivals": found,
        "best": max(found, key=lambda label: found[label][0]),
    }


def _by_label(cards: Sequence[Card], kind: str, group: str) -> dict[str, list[Card]]:
    """Label -> rows with a network, one a seed; of one group of losses."""
    rows = [r for c in cards for r in c["rows"] if r["kind"] == kind and "lost" not in r]
    rows = [r for r in rows if r["group"] == group]
    return {label: [r for r in rows if r["label"] == label] for label in dict.fromkeys(r["label"] for r in rows)}


def _best_single(compared: Sequence[Card]) -> str:
    """The rival with a network on most problems and, of these, the best mean accuracy."""
    labels = dict.fromkeys(label for c in compared for label in c["rivals"])

    def rank(label: str) -> tuple[int, float]:
        found = [c["rivals"][label][0] for c in compared if label in c["rivals"]]
        return len(found), statistics.mean(found)

    return max(labels, key=rank)


def _accuracy(rows: Sequence[Card]) -> float:
    return statistics.mean(r["accuracy"] for r in rows)


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _points(estimate: Estimate) -> str:
    return f"{100 * estimate.value:+.1f} [{100 * estimate.low:+.1f}, {100 * estimate.high:+.1f}]"
