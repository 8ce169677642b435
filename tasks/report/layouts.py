"""Layouts of whole channels: which were tried, which won, and the time that was predicted beside the time measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.report.words import NOTHING, show, show_change

_FAR = 0.15
"""Relative difference of measured to predicted time above which something is wrong."""
_WHAT = {"weights": "weights", "macs": "multiply-adds", "milliseconds": "time"}
"""`search.cost` in words."""


@dataclass(frozen=True)
class PredictedTime:
    """The time of a search's layout by the time table, beside the compacted model's on the same engine."""

    engine: str
    batch_size: int
    num_threads: int
    predicted_latency_ms_p50: float
    measured_latency_ms_p50: float | None
    """With the same batch size and threads; None: not measured."""
    same_machine: bool
    """Whether the table was measured where the model was."""
    of_all: bool
    """Whether nothing else was removed after the layout."""

    @property
    def text(self) -> str:
        """Both in words."""
        predicted, measured = self.predicted_latency_ms_p50, self.measured_latency_ms_p50
        found = "not measured"
        if measured is not None:
            change = show_change(predicted, measured, "milliseconds")
            found = f"measured {show(measured, 'milliseconds')} ({change})"
        where = "" if measured is None or self.same_machine else ", on another machine than predicted"
        alone = "" if self.of_all else " of the channels alone"
        threads = f"{self.num_threads} thread{'s' if self.num_threads > 1 else ''}"
        return (
            f"predicted {show(predicted, 'milliseconds')}{alone}, {found}: {self.engine}, batch {self.batch_size},"
            f" {threads}{where}"
        )

    @property
    def doubt(self) -> str | None:
        """That the two are far apart, if they are, on one machine and of the same channels."""
        predicted, measured = self.predicted_latency_ms_p50, self.measured_latency_ms_p50
        comparable = self.same_machine and self.of_all
        if measured is None or not comparable or abs(measured / predicted - 1) <= _FAR:
            return None
        return (
            f"time of the layout: {self.text}; more than {_FAR:.0%} apart. One of the two was measured on a busy"
            " machine, or the time table does not know this layout: run profile_source and benchmark_latency again."
        )


def predicted_time(
    searched: Mapping[str, Any], latency: Mapping[str, Any], export: Mapping[str, Any]
) -> PredictedTime | None:
    """What was predicted and what was measured; None where the search did not spend milliseconds.

    Args:
        searched: search/metrics.json.
        latency: benchmark_latency/metrics.json.
        export: benchmark_latency/export.json.
    """
    about = searched.get("channels") or {}
    if "predicted_latency_ms_p50" not in about:
        return None
    engine, batch_size, num_threads = (about[key] for key in ("engine", "batch_size", "num_threads"))
    timed = latency.get(engine, {}).get("compacted", {}).get(f"batch{batch_size}", {})
    machine, here = about.get("machine", {}), export.get("hardware", {})
    return PredictedTime(
        engine,
        batch_size,
        num_threads,
        about["predicted_latency_ms_p50"],
        timed.get("latency_ms_p50") if timed.get("num_threads") == num_threads else None,
        bool(machine) and all(here.get(key) == value for key, value in machine.items()),
        about.get("structure") != "hybrid",
    )


def layout_text(channels: Mapping[str, Any]) -> str:
    """The chosen layout in a sentence.

    Args:
        channels: of search/metrics.json.
    """
    kept, whole = channels["layout"], channels["whole_layout"]
    gone = sum(n == 0 for n in kept.values())
    vanished = f" ({gone} {'unit goes' if gone == 1 else 'units go'} whole)" if gone else ""
    share = f"{channels['cost_kept']:.1%} of the {_WHAT[channels['cost']]}"
    groups = f"{sum(kept.values())} of {sum(whole.values())} groups of channels{vanished}"
    return (
        f"{len(kept)} units of layers whose channels go together keep {groups}: {share}. Chosen by the rule"
        f" {channels['rule']}{_tried(channels['tried'])}."
    )


def _tried(tried: list[Mapping[str, Any]]) -> str:
    return f", the best on val of {len(tried)} layouts after a short training" if len(tried) > 1 else ", untried"


def tried_rows(channels: Mapping[str, Any]) -> list[tuple[str, bool, list[str]]]:
    """(rules, whether it won, cells) of every layout that was tried, the best first; none where one was taken untried.

    The cells are the groups kept of each unit, val accuracy and val cross-entropy.

    Args:
        channels: of search/metrics.json.
    """
    if len(channels["tried"]) < 2:
        return []
    found = []
    for layout in channels["tried"]:
        loss = layout["val_cross_entropy"]
        cells = [
            " ".join(map(str, layout["layout"].values())),
            show(layout["val_accuracy"], "fraction"),
            NOTHING if loss is None else f"{loss:.3f}",
        ]
        found.append((", ".join(layout["rules"]), layout["layout"] == channels["layout"], cells))
    return found
