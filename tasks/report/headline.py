"""The few figures of a result that are compared across a sweep: of any kind of subject, read from what it published."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from seam.methods.catalogue import YARDSTICK

_REGISTRATION = ("registered_model", "version", "promoted", "run_id", "result_sha256", "not_registered")
_MADE = (
    ("restructured", "source"),
    ("patched", "weak"),
    ("composed", "best_source"),
    ("composed", "source"),
    ("composed", "sources"),
)
"""Entries of the results of networks that were made of others: the result, and what it is held against."""
_BATCH = 16
_MOST_CLASSES, _MOST_DOUBTS, _LONGEST = 12, 40, 400
"""What a headline holds of long lists and texts, to stay a few kilobytes."""


def headline(card: Mapping[str, Any]) -> dict[str, Any]:
    """What is compared, flat; None where it was not measured.

    Args:
        card: card.json of any subject, or metrics.json of a modularization, which registers nothing.

    Returns:
        registered_model, version, aliases, promoted, run_id, result_sha256, mask_sha256, and not_registered:
        why not.
        classes (the first dozen) and num_classes; num_images of test; against: what is called the
        original here.
        accuracy on test, macs, latency_ms_p50 and engine of the result, and the same of the original with
        the prefix `original_`; density: weights that are not zero, as a share of the original's;
        batch_size of the times, each on its fastest engine.
        defect_inheritance_rate of the result; standard_defect_inheritance_rate: after standard
        fine-tuning.
        gates (gate, passed, text) and warnings, the doubts.
    """
    classes = list(card.get("classes") or ())
    found: dict[str, Any] = {name: card.get(name) for name in _REGISTRATION}
    return {
        **found,
        "aliases": list(card.get("aliases") or ()),
        "mask_sha256": _part(card, "hashes").get("mask_sha256"),
        "classes": [str(name)[:60] for name in classes[:_MOST_CLASSES]],
        "num_classes": len(classes) or None,
        **_figures(card),
        "gates": [{name: gate.get(name) for name in ("gate", "passed", "text")} for gate in card.get("gates") or ()],
        "warnings": _doubts(card),
    }


def _figures(card: Mapping[str, Any]) -> dict[str, Any]:
    if "evaluate" in card:
        return _of_problem(card)
    if "methods" in card:
        return _of_target(card)
    for result, original in _MADE:
        if card.get(result) and card.get(original):
            return _of_made(card, result, original)
    return _compared({}, {}, None)


def _of_problem(card: Mapping[str, Any]) -> dict[str, Any]:
    model, attacked = str(card.get("model")), _part(card, "evaluate_robustness")
    ours, original = (dict(_part(card, "evaluate", name)) for name in (model, "source"))
    for side, name in ((ours, "reengineered"), (original, "source")):
        side |= {key: _part(card, "export", "fastest", f"batch{_BATCH}", name).get(key) for key in _TIMES}
    ours["defect_inheritance_rate"] = _part(attacked, model).get("defect_inheritance_rate")
    standard = _part(attacked, "standard_finetuned").get("defect_inheritance_rate")
    return _compared(ours, original, "source", standard, _BATCH)


def _of_target(card: Mapping[str, Any]) -> dict[str, Any]:
    """The student that is registered, against the mean of standard fine-tuning."""
    standard = {key: _part(card, "methods", YARDSTICK.name, key).get("mean") for key in _RATES}
    ours = dict(card.get("registered") or {})
    figures = _compared(ours, standard, YARDSTICK.name, standard["defect_inheritance_rate"])
    return figures | {"density": _number(ours.get("density_end"))}


def _of_made(card: Mapping[str, Any], result: str, original: str) -> dict[str, Any]:
    conditions = _part(card, "conditions")
    about = {"engine": conditions.get("engine"), "num_images": card.get("num_test")}
    sides = [{**_part(card, name), **about} for name in (result, original)]
    return _compared(sides[0], sides[1], original, None, conditions.get("batch_size"))


_RATES = ("accuracy", "defect_inheritance_rate")
_TIMES = ("latency_ms_p50", "engine")


def _compared(
    ours: Mapping[str, Any], original: Mapping[str, Any], against: str | None, standard: Any = None, batch: Any = None
) -> dict[str, Any]:
    weights, all_weights = (_first(side, "params_nonzero", "params_total") for side in (ours, original))
    times = [_number(side.get("latency_ms_p50")) for side in (ours, original)]
    return {
        "against": against,
        "num_images": ours.get("num_images"),
        "accuracy": _number(ours.get("accuracy")),
        "original_accuracy": _number(original.get("accuracy")),
        "density": weights / all_weights if weights is not None and all_weights else None,
        "macs": _first(ours, "macs_nonzero", "macs"),
        "original_macs": _first(original, "macs_nonzero", "macs"),
        "latency_ms_p50": times[0],
        "original_latency_ms_p50": times[1],
        "engine": ours.get("engine"),
        "original_engine": original.get("engine"),
        "batch_size": None if times[0] is None else batch,
        "defect_inheritance_rate": _number(ours.get("defect_inheritance_rate")),
        "standard_defect_inheritance_rate": _number(standard),
    }


def _doubts(card: Mapping[str, Any]) -> list[str]:
    texts = [str(text) for text in card.get("warnings") or ()]
    shown = [text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…" for text in texts[:_MOST_DOUBTS]]
    more = len(texts) - len(shown)
    return [*shown, f"{more} more doubts: see its own report"] if more > 0 else shown


def _part(content: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """What lies at a path; empty where nothing does."""
    for name in path:
        inner = content.get(name)
        content = inner if isinstance(inner, Mapping) else {}
    return content


def _first(side: Mapping[str, Any], *names: str) -> float | None:
    return next((number for name in names if (number := _number(side.get(name))) is not None), None)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value
