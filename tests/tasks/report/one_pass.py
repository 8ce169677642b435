"""Results of a search by one pass in milliseconds, made up, with the compacted model's time."""

from __future__ import annotations

from typing import Any

from tasks.project.stage import StageContext
from tests.tasks.report.page import Edit

MACHINE = {"cpu": "a CPU", "vector_instructions": ["avx2"]}
CHANNELS: dict[str, Any] = {
    "structure": "channels",
    "rule": "share",
    "layout": {"stem": 16, "inner": 0, "last": 32},
    "whole_layout": {"stem": 16, "inner": 16, "last": 64},
    "cost": "milliseconds",
    "cost_kept": 0.4,
    "tried": [
        {
            "rules": ["share", "sum"],
            "layout": {"stem": 16, "inner": 0, "last": 32},
            "val_accuracy": 0.81,
            "val_cross_entropy": 0.4,
        },
        {
            "rules": ["root_<width>"],
            "layout": {"stem": 16, "inner": 16, "last": 16},
            "val_accuracy": 0.82,
            "val_cross_entropy": 0.52,
        },
    ],
    "predicted_latency_ms_p50": 3.0,
    "source_latency_ms_p50": 7.5,
    "engine": "onnxruntime",
    "version": "1",
    "batch_size": 16,
    "num_threads": 1,
    "machine": MACHINE,
}


def plant(context: StageContext, edit_json: Edit, measured: float | None = 3.3, **channels: Any) -> None:
    """Write these results into a project; None: the compacted model was not timed at that batch size."""
    edit_json(context.artifact("search", "metrics.json"), lambda m: m.update(channels={**CHANNELS, **channels}))
    timed = {"latency_ms_p50": measured, "latency_ms_p95": measured, "num_threads": 1}
    batches = {} if measured is None else {"batch16": timed}
    edit_json(
        context.artifact("benchmark_latency", "metrics.json"),
        lambda m: m["onnxruntime"].update(compacted={"batch1": {**timed, "latency_ms_p50": 0.3}, **batches}),
    )
    edit_json(
        context.artifact("benchmark_latency", "export.json"),
        lambda e: e.update(hardware={**MACHINE, "load_average": [0.1]}),
    )
