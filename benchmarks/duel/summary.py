"""Ours against the best single rival, over problems: with every rival's own training, and with ours given to all."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from duel.differences import Estimate, difference, mean_of, unpacked
from duel.task import UNITS, Budget
from tasks.report.markdown import table

Card = dict[str, Any]
_DIR = "defect_inheritance_rate"
_TITLES = {
    "own": "Each rival with its own best training",
    "ours": "Our training given to every rival",
}


def summary(cards: Sequence[Card]) -> str:
    """A table for each kind of budget and training of the rivals, blind problems alone, each at its own budget."""
    blind = [c for c in cards if not c["pilot"]]
    parts = ["## Summary, blind problems\n"]
    for unit in dict.fromkeys(_budget(c).unit for c in blind):
        of_unit = [c for c in blind if _budget(c).unit == unit]
        parts += [_of_group(of_unit, group) for group in _TITLES]
    return "\n".join(parts if len(parts) > 1 else [*parts, "No card of a blind problem yet.\n"])


def short(cards: Sequence[Card]) -> str:
    """The blind problems of milliseconds, a row each: the original, ours, and the best rival with either training."""
    blind = [c for c in cards if not c["pilot"] and _budget(c).unit == "ms"]
    rows, compared = [], dict[str, list[Card]]({group: [] for group in _TITLES})
    for mine in by_problem(blind):
        found = {group: _problem(mine, group) for group in _TITLES}
        if (first := next(filter(None, found.values()), None)) is None:
            continue
        original = statistics.mean(c["original"]["accuracy"] for c in mine)
        cells = [first["problem"], f"{first['percent']}%", _percent(original), f"**{_percent(first['accuracy'])}**"]
        for group, of in found.items():
            cells.append("" if of is None else f"{_percent(of['rivals'][of['best']]['accuracy'])} ({of['best']})")
            compared[group] += [] if of is None else [of]
        rows.append(cells)
    above = [_points(mean_of(_above_best(of))) if of else "" for of in compared.values()]
    seconds = ["" if (s := _seconds(of)) is None else f"{s:.1f}" for of in compared.values()]
    rows.append(["**ours above it, mean**", "", "", "", *above])
    rows.append(["**our CPU time, that rival's = 1, mean**", "", "", "", *seconds])
    rows.append(["**ours in at most its CPU time, above it, mean**", "", "", "", *map(_quick_mean, compared.values())])
    header = ["classes of", "of the time", "original, %", "seam, %", "best rival, %", "best rival, our training, %"]
    return table(header, rows)


def by_problem(cards: Sequence[Card]) -> list[list[Card]]:
    """Cards of one problem at one budget together: those of its seeds."""
    keys = dict.fromkeys((c["problem"], c["budget"]) for c in cards)
    return [[c for c in cards if (c["problem"], c["budget"]) == key] for key in keys]


def _budget(card: Card) -> Budget:
    return Budget.of(card["budget"])


def _of_group(cards: Sequence[Card], group: str) -> str:
    unit = UNITS[_budget(cards[0]).unit]
    head = f"### {_TITLES[group]}, at equal shares of {unit}\n"
    compared = [found for mine in by_problem(cards) if (found := _problem(mine, group))]
    if not compared:
        return f"{head}\nNo problem has both a network of ours and one of a rival.\n"
    single = _best_single(compared)
    header = [
        "problem",
        f"% of {unit}",
        "our best by val",
        "accuracy, %",
        "its best rival by test",
        "accuracy, %",
        "ours above it, points",
        f"ours above {single}, points",
        "CPU s, ours / that rival",
        "ours in at most its CPU time, %",
        "above it, points",
        "DIR, %, ours / the original, fine-tuned",
    ]
    return "\n".join([head, table(header, [_compared(c, single) for c in compared]), "", _verdict(compared, single)])


def _above_best(compared: Sequence[Card]) -> list[Estimate]:
    return [c["differences"][c["best"]] for c in compared]


def _seconds(compared: Sequence[Card]) -> float | None:
    """CPU time of our chosen trainings in units of those of the best rival of each, mean; None: all were on a GPU."""
    pairs = [(c["cpu_seconds"], c["rivals"][c["best"]]["cpu_seconds"]) for c in compared]
    known = [ours / theirs for ours, theirs in pairs if ours is not None and theirs is not None]
    return statistics.mean(known) if known else None


def _verdict(compared: Sequence[Card], single: str) -> str:
    above_single = [c["differences"][single] for c in compared if single in c["differences"]]
    above_best, seconds = _above_best(compared), _seconds(compared)
    worst = min(d.value for d in above_best)
    number = len(compared)
    inherited = [c["inherited"] / c["inherited_whole"] for c in compared if c["inherited_whole"]]
    text = (
        f"Mean over {number} problem{'s' if number > 1 else ''} above the best rival of each:"
        f" **{_points(mean_of(above_best))}** points; above the best single one ({single}, {len(above_single)} of"
        f" {number}): **{_points(mean_of(above_single))}**; worst difference to the best rival of a problem:"
        f" **{100 * worst:+.1f}** points{' (lost)' if worst < 0 else ''}."
    )
    if seconds is not None:
        text += f" CPU time of the chosen training, in units of that rival's: {seconds:.1f} on average"
        text += f"{' (lost)' if seconds > 1 else ''}."
    if quick := _quick_mean(compared):
        text += f" Ours in no more CPU time than that rival: **{quick}** points above it."
    if inherited:
        text += f" DIR, in units of the fine-tuned original's: {statistics.mean(inherited):.2f} on average."
    return f"{text}\n"


def _compared(found: Card, single: str) -> list[str]:
    rival, difference_of = found["rivals"][found["best"]], found["differences"]
    whole = "" if found["inherited_whole"] is None else f" / {_percent(found['inherited_whole'])}"
    return [
        found["problem"],
        found["percent"],
        found["ours"],
        _percent(found["accuracy"]),
        found["best"],
        _percent(rival["accuracy"]),
        _points(difference_of[found["best"]]),
        _points(difference_of[single]) if single in difference_of else "no layout",
        " / ".join(shown_seconds(c["cpu_seconds"]) for c in (found, rival)),
        *_quick_cells(found["quick"]),
        f"{_percent(found['inherited'])}{whole}",
    ]


def _quick_mean(compared: Sequence[Card]) -> str:
    """How far networks of ours that took no more CPU time are above the best rivals; empty: there are none."""
    found = [c["quick"]["difference"] for c in compared if c["quick"]]
    return f"{_points(mean_of(found))}, {len(found)} of {len(compared)}" if found else ""


def _quick_cells(quick: Card | None) -> list[str]:
    """A network of ours that took no more CPU time than the best rival."""
    if quick is None:
        return ["none", ""]
    return [f"{_percent(quick['accuracy'])} in {shown_seconds(quick['cpu_seconds'])} s", _points(quick["difference"])]


def _problem(cards: Sequence[Card], group: str) -> Card | None:
    """Ours and the rivals on one problem at one budget, mean over its seeds."""
    ours = _by_label(cards, "ours", "ours") or _by_label(cards, "ours", "own")
    rivals = _by_label(cards, "rival", group)
    if not ours or not rivals:
        return None
    best = _best_by_val(ours)
    counts, number = cards[0]["test_counts"], sum(cards[0]["test_counts"])

    def answers(rows: Sequence[Card]) -> list[Any]:
        return [unpacked(r["answers"], number) for r in rows]

    whole = [r for r in _rows(cards, "bound") if r["arm"] == "whole"]
    of_rivals = {label: _costs_and_accuracy(rows) for label, rows in rivals.items()}
    best_rival = max(of_rivals, key=lambda label: of_rivals[label]["accuracy"])

    def above(label: str, rival: str) -> Estimate:
        return difference(answers(ours[label]), answers(rivals[rival]), counts)

    limit = of_rivals[best_rival]["cpu_seconds"]
    quick = _best_by_val({k: v for k, v in ours.items() if limit and (cpu_seconds(v) or math.inf) <= limit})
    return {
        "problem": cards[0]["problem"],
        "percent": str(_budget(cards[0]).percent),
        "ours": best,
        **_costs_and_accuracy(ours[best]),
        "inherited": _mean(ours[best], _DIR),
        "inherited_whole": _mean(whole, _DIR) if whole else None,
        "rivals": of_rivals,
        "differences": {label: above(best, label) for label in rivals},
        "best": best_rival,
        "quick": quick and {**_costs_and_accuracy(ours[quick]), "difference": above(quick, best_rival)},
    }


def _best_by_val(rows: dict[str, list[Card]]) -> str | None:
    """The label whose networks are best on val; None: there are none."""
    return max(rows, key=lambda label: _mean(rows[label], "val_accuracy"), default=None)


def _costs_and_accuracy(rows: Sequence[Card]) -> Card:
    """Means over the rows."""
    return {"accuracy": _mean(rows, "accuracy"), "cpu_seconds": cpu_seconds(rows)}


def cpu_seconds(rows: Sequence[Card]) -> float | None:
    """Mean over the rows that were trained on a CPU; None: there are none."""
    timed = [r for r in rows if r["cpu_seconds"] is not None]
    return _mean(timed, "cpu_seconds") if timed else None


def shown_seconds(seconds: float | None) -> str:
    """In a table."""
    return "GPU" if seconds is None else f"{seconds:.0f}"


def _rows(cards: Sequence[Card], kind: str) -> list[Card]:
    """With a network."""
    return [r for c in cards for r in c["rows"] if r["kind"] == kind and "lost" not in r]


def _by_label(cards: Sequence[Card], kind: str, group: str) -> dict[str, list[Card]]:
    """Label -> rows with a network, one a seed; of one group of losses."""
    rows = [r for r in _rows(cards, kind) if r["group"] == group]
    return {label: [r for r in rows if r["label"] == label] for label in dict.fromkeys(r["label"] for r in rows)}


def _best_single(compared: Sequence[Card]) -> str:
    """The rival with a network on most problems and, of these, the best mean accuracy."""
    labels = dict.fromkeys(label for c in compared for label in c["rivals"])

    def rank(label: str) -> tuple[int, float]:
        found = [c["rivals"][label]["accuracy"] for c in compared if label in c["rivals"]]
        return len(found), statistics.mean(found)

    return max(labels, key=rank)


def _mean(rows: Sequence[Card], name: str) -> float:
    """Of a value of the rows; nothing is inherited where nothing was right."""
    return statistics.mean(float(r[name] or 0.0) for r in rows)


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _points(estimate: Estimate) -> str:
    return f"{100 * estimate.value:+.1f} [{100 * estimate.low:+.1f}, {100 * estimate.high:+.1f}]"
