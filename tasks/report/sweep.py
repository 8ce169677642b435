"""Stand-in until the page is merged."""

from collections.abc import Mapping
from typing import Any


def headline(card: Mapping[str, Any]) -> dict[str, Any]:
    m = card.get("model")
    e = card.get("evaluate", {}).get(m, {})
    return {
        "accuracy": e.get("accuracy"),
        "density": e.get("density"),
        "run_id": card.get("run_id"),
        "registered_model": card.get("registered_model"),
        "version": card.get("version"),
        "mask_sha256": card.get("hashes", {}).get("mask_sha256"),
        "result_sha256": card.get("result_sha256"),
    }


def render_sweep(name: str, plan: Any, rows: Any) -> str:
    return "<html></html>"
