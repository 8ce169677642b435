"""The section of docs/results.md on the choice among networks: rankings beside the truth, naive ones and losses too."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from projects import ROOT
from scipy.stats import rankdata, weightedtau

from seam.configs.selection import SelectConfig
from seam.files import read_json
from seam.measures.transferability.rows import ESTIMATES
from tasks.report.markdown import table

CARDS = ROOT / "benchmarks" / "results" / "select"
Card = Mapping[str, Any]
Scores = list[float]
"""Of the sources of a card, in its order; higher is better."""
TAU, REGRET = 0.6, 0.01
"""The goals: least weighted rank correlation, largest regret."""
FORMS = {
    "pictures": "Pictures of 32 pixels",
    "digits": "Digits of 8 pixels, which the project has itself",
}
HOW = """## Which network to reuse (`seam select`)

Each estimate ranks the sources for a problem before anything is trained, from its train and val images alone. The
truth is the accuracy on test images after `seam.transfer` by standard fine-tuning of all weights ({epochs} epochs,
one setting for all sources). tau is Kendall's, weighted so that the top counts most (scipy's weightedtau); regret is
how many points the chosen source is below the best one. Naive rankings beside: the source's accuracy on its own
classes, its weights, its multiply-adds, a random choice (its mean). The default was set before anything was measured
and kept after the pilots; means are over the other problems. The length of the training was halved to save time after
six sources of the pilot `fish` had been seen, and `clothes`, at first a pilot too, became one of the others before it
was measured. Foreign: without the sources that were trained on the problem's own data set, which are the easy ones to
find. Sources given as files have seen the training images of their own data sets, from which some problems draw
theirs; those trained here have not. Made by `make reproduce-select`.
"""


def section() -> str:
    """The section; empty where there are no cards."""
    cards = [read_json(path) for path in sorted(CARDS.glob("*.json"))]
    cards = [card for card in cards if len(card["sources"]) > 2]
    if not cards:
        return ""
    parts = [HOW.format(epochs=cards[0]["epochs"])]
    for form, title in FORMS.items():
        if found := [card for card in cards if card["form"] == form]:
            parts += [_form(title, found), ""]
    return "\n".join(parts)


def _form(title: str, cards: Sequence[Card]) -> str:
    blind = [card for card in cards if not card["pilot"]]
    pilots = len(cards) - len(blind)
    said = f"{len(cards[0]['sources'])} sources, {len(blind)} problems and {pilots} pilot{'s' if pilots != 1 else ''}"
    seeds = ", ".join(map(str, sorted({card["seed"] for card in cards})))
    first = cards[0]["machine"]
    parts = [f"**{title}**: {said}, seed {seeds}. {first['cpu']}, one thread."]
    parts += ["", _rankings(blind or cards, [card for card in cards if card["pilot"]]), "", _truths(cards)]
    return "\n".join(parts)


def _rankings(blind: Sequence[Card], pilots: Sequence[Card]) -> str:
    """One row a ranking, the default first."""
    by = SelectConfig().by
    names = [by, *(name for name in ESTIMATES if name != by)]
    rows = [_row(_label(name, by), lambda c, n=name: _estimates(c, n), blind, pilots, name == by) for name in names]
    rows.append(_row("mean of the ranks of all six", mean_rank, blind, pilots, False))
    rows.append(_row("source's own accuracy", lambda c: _of(c, "source_accuracy"), blind, pilots, False))
    rows.append(_row("source's weights", lambda c: _of(c, "params_total"), blind, pilots, False))
    rows.append(_row("source's multiply-adds", lambda c: _of(c, "macs"), blind, pilots, False))
    rows.append(("random", "0.00", "", _by_chance(blind), "", *_foreign_by_chance(blind), "", ""))
    header = (
        *("ranking", "tau", "least", "regret, points", "largest"),
        *("tau, foreign sources", "regret, foreign sources", "tau on the pilots", ""),
    )
    return table(header, rows)


def _by_chance(cards: Sequence[Card]) -> str:
    """Mean regret of a random choice, in points."""
    return f"{100 * statistics.mean(max(truth(c)) - statistics.mean(truth(c)) for c in cards):.2f}"


def _foreign_by_chance(cards: Sequence[Card]) -> tuple[str, str]:
    others = [card for card in map(foreign, cards) if card is not None]
    return ("0.00", _by_chance(others)) if others else ("", "")


def foreign(card: Card) -> Card | None:
    """The card without the sources that were trained on its own data set; None: fewer than three are left."""
    kept = {name: source for name, source in card["sources"].items() if source["data"] != card["data"]}
    return None if len(kept) < 3 else {**card, "sources": kept}


def _label(name: str, by: str) -> str:
    label = ESTIMATES[name].label
    return f"**{label}** (the default)" if name == by else label


def _row(
    label: str, scores: Callable[[Card], Scores], blind: Sequence[Card], pilots: Sequence[Card], judged: bool
) -> tuple[str, ...]:
    """A ranking over the problems: mean and least tau, mean and largest regret; whether it meets the goals."""
    taus, regrets = [tau(c, scores(c)) for c in blind], [regret(c, scores(c)) for c in blind]
    mean_tau, mean_regret = statistics.mean(taus), statistics.mean(regrets)
    others = [card for card in map(foreign, blind) if card is not None]
    far = [(tau(c, scores(c)), regret(c, scores(c))) for c in others]
    mean_far = tuple(map(statistics.mean, zip(*far, strict=True)))
    apart = (f"{mean_far[0]:.2f}", f"{100 * mean_far[1]:.2f}") if far else ("", "")
    said = f"{verdict(mean_tau, mean_regret)}{f'; foreign sources: {verdict(*mean_far)}' if far else ''}"
    on_pilots = f"{statistics.mean(tau(c, scores(c)) for c in pilots):.2f}" if pilots else ""
    return (
        label,
        f"{mean_tau:.2f}",
        f"{min(taus):.2f}",
        f"{100 * mean_regret:.2f}",
        f"{100 * max(regrets):.2f}",
        *apart,
        on_pilots,
        said if judged else "",
    )


def verdict(mean_tau: float, mean_regret: float) -> str:
    """Whether the goals are met, each by the mean over the problems."""
    goals = (("tau of at least 0.6", mean_tau >= TAU), ("regret of at most 1 point", mean_regret <= REGRET))
    return ", ".join(f"{name} {'met' if met else '**lost**'}" for name, met in goals)


def truth(card: Card) -> Scores:
    """Accuracy on test after the transfer."""
    return _of(card, "test")


def tau(card: Card, scores: Scores) -> float:
    """Weighted rank correlation with the truth; 0 where all scores are the same."""
    found = float(weightedtau(scores, truth(card)).statistic)
    return 0.0 if math.isnan(found) else found


def regret(card: Card, scores: Scores) -> float:
    """How far the accuracy of the one with the highest score is below the best."""
    reached = truth(card)
    return max(reached) - reached[max(range(len(scores)), key=lambda i: scores[i])]


def mean_rank(card: Card) -> Scores:
    """Mean over the estimates of a source's rank."""
    ranks = [rankdata(_estimates(card, name)) for name in ESTIMATES]
    return [statistics.mean(float(r[i]) for r in ranks) for i in range(len(card["sources"]))]


def _estimates(card: Card, name: str) -> Scores:
    return [float(source["estimates"][name]) for source in card["sources"].values()]


def _of(card: Card, key: str) -> Scores:
    return [float(source[key]) for source in card["sources"].values()]


def _truths(cards: Sequence[Card]) -> str:
    """What every source reaches on every problem; the best of each problem bold, the chosen one marked."""
    by, columns = SelectConfig().by, list[tuple[str, ...]]()
    for card in cards:
        reached, scores = truth(card), _estimates(card, by)
        chosen = max(range(len(scores)), key=lambda i: scores[i])
        shown = [f"**{100 * v:.1f}**" if v == max(reached) else f"{100 * v:.1f}" for v in reached]
        columns.append(tuple(f"{text} ←" if i == chosen else text for i, text in enumerate(shown)))
    heads = [f"{c['problem']}{' (pilot)' if c['pilot'] else ''}{_seed(c, cards)}" for c in cards]
    header = ("% on test (bold: best, ←: chosen)", *heads)
    names = list(cards[0]["sources"])
    return table(header, [(name, *(column[i] for column in columns)) for i, name in enumerate(names)])


def _seed(card: Card, cards: Sequence[Card]) -> str:
    return f", seed {card['seed']}" if len({c["seed"] for c in cards}) > 1 else ""
