"""The gates on conversions: may a model that engines compute otherwise than torch carry the alias?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from tasks.tracking.gates import Verdict
from tasks.tracking.policy import ConversionGate, ConversionGates

_PRECISIONS: tuple[Literal["float32", "int8"], ...] = ("float32", "int8")


def judge_conversions(gates: ConversionGates, agreement: Mapping[str, Mapping[str, Any]]) -> list[Verdict]:
    """A verdict for each precision that has a gate.

    Args:
        gates: of the policy.
        agreement: benchmark_latency/export.json, `agreement`.

    Returns:
        None for int8 where no engine computes in it; a failed one for float32 where none was compared.
    """
    verdicts = []
    for precision in _PRECISIONS:
        gate: ConversionGate | None = getattr(gates, precision)
        compared = {
            engine: found["kinds"] for engine, found in agreement.items() if found.get("precision") == precision
        }
        if gate is not None and (compared or precision == "float32"):
            verdicts.append(_judge(f"conversions_{precision}", gate, compared))
    return verdicts


def _judge(name: str, gate: ConversionGate, compared: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Verdict:
    if not compared:
        return Verdict(name, False, "no engine's outputs were compared with torch's, so the gate cannot pass")
    everywhere = [(engine, kind, found) for engine, kinds in compared.items() for kind, found in kinds.items()]
    engine, kind, farthest = max(everywhere, key=lambda item: _deviation(item[2]))
    flipped_on, flipped = max(
        ((engine, kinds["test"]) for engine, kinds in compared.items()), key=lambda item: item[1]["labels_flipped"]
    )
    deviation, images = _deviation(farthest), flipped["images"]
    others = sum(found["labels_flipped"] for _, kind, found in everywhere if kind != "test")
    on_test = f"{flipped['labels_flipped']} of {images} test images on {flipped_on}"
    text = (
        f"{', '.join(compared)} beside torch: outputs differ by at most {deviation:.2g} of the largest ({engine},"
        f" {kind}), {gate.deviation:g} is allowed; another class for {on_test}, {gate.flips:.1%} is allowed, and for"
        f" {others} of noise, extreme and attacked images"
    )
    return Verdict(name, deviation <= gate.deviation and flipped["labels_flipped"] <= gate.flips * images, text)


def _deviation(found: Mapping[str, Any]) -> float:
    return float("inf") if found["deviation"] is None else float(found["deviation"])
