"""What docs/results.md says of engines: their times, int8, and where the time goes, from the result cards."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Card = dict[str, Any]
LIVING = ("onnxruntime", "openvino")
"""Engines that are maintained; DeepSparse is not since June 2025."""


def engines(cards: Sequence[Card]) -> str:
    """What engines make of the multiply-adds that compaction takes away, each of them and the fastest ones."""
    removed = 100 * (1 - statistics.mean(c["macs"]["compacted"] / c["macs"]["original"] for c in cards))

    def line(name: str, timed: Sequence[Mapping[str, float]]) -> str:
        before, masked, after = (
            statistics.mean(times[m] for times in timed) for m in ("source", "reengineered", "compacted")
        )
        saved = 100 * (1 - statistics.mean(times["compacted"] / times["source"] for times in timed))
        return f"| {name} | {before:.2f} | {masked:.2f} | {after:.2f} | {saved:.1f} | {100 * saved / removed:.0f} |"

    lines = [
        f"Engine by engine, {removed:.1f}% of the multiply-adds removed:",
        "",
        "| engine | original, ms | masked, ms | compacted, ms | time saved by compacted, % | of the MACs' share, % |",
        "|---|---|---|---|---|---|",
    ]
    found = [c["latency_ms_batch16"] for c in cards]
    by_engine = {
        engine: [times[engine] for times in found if isinstance(times.get(engine), dict)] for engine in found[0]
    }
    lines += [line(engine, timed) for engine, timed in by_engine.items() if timed]
    living = [_fastest(times, LIVING) for times in found]
    lines.append(line("each on its fastest living engine", living))
    if any(c.get("int8") for c in cards):
        int8 = [_fastest(times, [*LIVING, *_accepted(c)]) for c, times in zip(cards, found, strict=True)]
        lines.append(
            line(
                "the same, ours in int8 where accepted",
                [{**ours, "source": plain["source"]} for ours, plain in zip(int8, living, strict=True)],
            )
        )
        lines += [
            "",
            (
                "int8 (after training, calibrated on at most 300 train images, judged on val), test accuracy of the"
                " compacted model:"
            ),
        ]
        for engine in dict.fromkeys(engine for c in cards for engine in c["int8"]):
            rounded = [c["int8"][engine]["compacted"] for c in cards if engine in c["int8"]]
            before, after = (
                100 * statistics.mean(r[key] for r in rounded) for key in ("test_accuracy_float", "test_accuracy")
            )
            lines[-1] += (
                f" {engine} {after:.2f}%, float {before:.2f}%, accepted for {sum(r['accepted'] for r in rounded)} of"
                f" {len(rounded)};"
            )
        lines[-1] = lines[-1].removesuffix(";") + "."
    return "\n".join(lines)


def _accepted(card: Card) -> list[str]:
    """Engines whose int8 model is good enough."""
    return [engine for engine, models in card["int8"].items() if models["compacted"]["accepted"]]


def operators(cards: Sequence[Card]) -> str:
    """Where the time that is left goes: operators by the compacted model's time."""
    before, after = (
        {kind: statistics.mean(c["operators_ms_batch16"][m].get(kind, 0.0) for c in cards) for kind in _kinds(cards, m)}
        for m in ("source", "compacted")
    )
    total = sum(after.values())
    lines = [
        "Where it goes, operators as ONNX Runtime runs them:",
        "",
        "| operator | original, ms | compacted, ms | of the compacted model's time, % |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {kind} | {before.get(kind, 0):.3f} | {after[kind]:.3f} | {100 * after[kind] / total:.1f} |"
        for kind in sorted(after, key=lambda kind: -after[kind])
    ]
    return "\n".join(lines)


def _kinds(cards: Sequence[Card], model: str) -> set[str]:
    return {kind for c in cards for kind in c["operators_ms_batch16"][model]}


def _fastest(latency: Mapping[str, Any], engines: Sequence[str]) -> dict[str, float]:
    """Model -> its time on the one of `engines` that runs it fastest."""
    timed = [times for engine in engines if isinstance(times := latency.get(engine), dict)]
    return {model: min(times[model] for times in timed) for model in ("source", "reengineered", "compacted")}


def saved(latency: Mapping[str, Any], engines: Sequence[str]) -> float | None:
    """Percent of the original's time, both sides on the fastest of `engines`, ours masked or compacted.

    None where none was measured.
    """
    if not any(isinstance(latency.get(engine), dict) for engine in engines):
        return None
    times = _fastest(latency, engines)
    return 100 * (1 - min(times["reengineered"], times["compacted"]) / times["source"])
