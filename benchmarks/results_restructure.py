"""The section of docs/results.md on DeepArc: what was claimed beside what was measured, losses too."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from projects import ROOT

from seam.files import read_json
from tasks.report.markdown import table

CARDS = ROOT / "benchmarks" / "results" / "restructure"
Card = dict[str, Any]
TRAININGS = {
    "adversarial": "images under attack",
    "repair": "an under-performing network",
    "compress": "blocks removed",
}
"""Aims in which parts are trained against all weights."""
CLOSE = 0.005
"""Accuracies that differ by no more are called the same."""


def section() -> str:
    """The section; empty where there are no cards."""
    cards = [read_json(path) for path in sorted(CARDS.glob("*.json"))]
    if not cards:
        return ""
    first, seeds = cards[0], ", ".join(str(c["seed"]) for c in cards)
    images = first["images"]
    source = statistics.mean(c["source_test_accuracy"] for c in cards)
    head = (
        "## Fewer blocks, and parts trained again (DeepArc)\n\n"
        f"{first['architecture']}, {source:.2%} on test; data {first['data']}, {images['train']}"
        f" training images, {images['val']} of the training images for val, {images['test']} test images; seeds"
        f" {seeds}. Trained for {first['training']['epochs']} epochs, parts and all weights alike, each at a rate of"
        " its own, with the source's answers as a teacher where blocks went. Seconds are of the CPU, one thread. The"
        " paper's networks are deeper (ResNets of up to 152 layers on CIFAR-10, with 10 to 50 times the usual weight"
        f" decay, which makes blocks repeat each other). Attacks change a pixel by {first['eps_pixel']:g} at most."
        f" {_of_sources(first)} One test image is {100 / images['test']:.2f} points. Made by"
        " `make reproduce-restructure`.\n"
    )
    return "\n".join([head, _claims(cards), "", _aims(cards), "", _channels(cards), ""])


def _of_sources(first: Card) -> str:
    """Where the sources come from."""
    if first.get("source_epochs") is None:
        return "The source was trained on most of the images that val is drawn from, so val flatters; test does not."
    return (
        f"Each seed has a source of its own, trained for {first['source_epochs']} epochs on the training images that"
        f" are not val; the under-performing network's training ended after {first['weak_epochs']}."
    )


def _claims(cards: Sequence[Card]) -> str:
    share = _mean(cards, lambda c: c["aims"]["adversarial"]["parts"]["trained_share"])
    saved = _mean(cards, lambda c: 1 - _milliseconds(c, "restructured") / _milliseconds(c, "source"))
    gap = _mean(cards, lambda c: _channel(c, "restructured") - _channel(c, "source"))
    rows = [
        ("share that is trained, images under attack", "below 20% of the neurons", f"{share:.1%} of the weights", ""),
        *(_faster(cards, aim, words) for aim, words in TRAININGS.items() if aim in cards[0]["aims"]),
        (
            "run time, channels after blocks against channels alone",
            "14.8% less",
            f"{saved:.1%} less, accuracy {100 * gap:+.2f} points",
            _verdict(saved >= 0.148 and gap >= -CLOSE),
        ),
    ]
    return table(("", "claimed", "measured", ""), rows)


def _faster(cards: Sequence[Card], aim: str, words: str) -> tuple[str, str, str, str]:
    """How much less time the parts take, and at what accuracy."""
    found = [c["aims"][aim] for c in cards]
    less = statistics.mean(1 - a["parts"]["cpu_seconds"] / a["all"]["cpu_seconds"] for a in found)
    gap = statistics.mean(_test(a["parts"]) - _test(a["all"]) for a in found)
    measured = f"{less:.1%} less, accuracy {100 * gap:+.2f} points"
    claimed = "32.85% less at a similar accuracy"
    return f"training time of parts, {words}", claimed, measured, _verdict(less >= 0.3285 and gap >= -CLOSE)


def _verdict(met: bool) -> str:
    return "met" if met else "**lost**"


def _aims(cards: Sequence[Card]) -> str:
    rows = []
    for aim in cards[0]["aims"]:
        for kind in cards[0]["aims"][aim]["untrained"]:
            found = [c["aims"][aim] for c in cards]
            rows.append(
                (
                    f"`{aim}`, {kind} test images",
                    ", ".join(found[0]["removed"]) or "none",
                    f"{100 * statistics.mean(f['untrained'][kind] for f in found):.2f}",
                    *(
                        f"{100 * statistics.mean(f[way]['test'][kind] for f in found):.2f}"
                        f" ({statistics.mean(f[way]['cpu_seconds'] for f in found):.0f} s)"
                        for way in ("parts", "all")
                    ),
                    ", ".join(found[0]["parts"]["trained"]),
                )
            )
    drawn = [v for c in cards for v in c["aims"]["compress"]["random_untrained_val"]]
    chosen = statistics.mean(c["aims"]["compress"]["parts"]["val_before"] for c in cards)
    said = (
        f"Untrained, on val, the blocks that were chosen leave {chosen:.1%}; as many random ones"
        f" {statistics.mean(drawn):.1%} (mean of {len(drawn)} draws, best {max(drawn):.1%}). The rates (parts"
        f" {cards[0]['training']['lr']:g}, all weights {cards[0]['training']['lr_full']:g}) are the better of two or"
        " three each in a pilot on CIFAR-10."
    )
    header = ("aim", "removed (first seed)", "untrained, %", "parts, %", "all weights, %", "parts (first seed)")
    return f"{table(header, rows)}\n\n{said}"


def _channels(cards: Sequence[Card]) -> str:
    conditions = cards[0]["channels"]["source"]["conditions"]
    rows = [
        (
            words,
            f"{100 * _mean(cards, lambda c, name=name: _channel(c, name)):.2f}",
            f"{_mean(cards, lambda c, name=name: c['channels'][name]['macs']) / 1e6:.2f} M",
            f"{_mean(cards, lambda c, name=name: _milliseconds(c, name)):.2f}",
        )
        for words, name in (("channels alone", "source"), ("channels after blocks", "restructured"))
    ]
    header = (
        "five of the ten classes",
        "test, %",
        "multiply-adds",
        f"ms, {conditions['engine']}, batch {conditions['batch_size']}",
    )
    machine = cards[0]["machine"]
    said = (
        "Both give up half of the multiply-adds they begin with, by the same search, and train for as many epochs."
        f" Machine: {machine['cpu']}, {machine['cores']} cores, busy with other work; torch {cards[0]['torch']}."
        + "".join(f" {card['note']}" for card in cards if "note" in card)
    )
    return f"{table(header, rows)}\n\n{said}"


def _mean(cards: Sequence[Card], value: Callable[[Card], float]) -> float:
    return statistics.mean(value(card) for card in cards)


def _test(way: Card) -> float:
    return statistics.mean(way["test"].values())


def _channel(card: Card, name: str) -> float:
    return float(card["channels"][name]["test_accuracy"])


def _milliseconds(card: Card, name: str) -> float:
    return float(card["channels"][name]["latency_ms_p50"])
