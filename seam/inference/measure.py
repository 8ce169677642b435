"""Inference time of several variants of a model on one engine, and a model's outputs, in this process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from seam.configs.inference import EngineName, LatencyConfig
from seam.inference.engines import ENGINES, pinned, version
from seam.inference.timing import Clock, interleave, paired_ratio, summarize
from seam.inference.variants import Batch, FloatArray, InputSpec, Variant

AT_ONCE = 16
"""Images a call, where it is their outputs that count."""


@dataclass
class Measurement:
    """What one engine did."""

    latencies: dict[str, dict[str, dict[str, float | int]]] = field(default_factory=dict)
    """variant -> "batch<N>" -> latency_ms_p50, latency_ms_p95, latency_ms_min, num_threads,
    batch_size, repeats; and, for all but the first variant, ratio, ratio_low, ratio_high: of its
    time to the first one's, with a 95% interval."""
    outputs: dict[str, dict[str, list[list[float]]]] = field(default_factory=dict)
    """variant -> "batch<N>" -> outputs for the example inputs, to compare engines."""
    about: dict[str, Any] = field(default_factory=dict)
    """Version, and what else the engine says of itself."""


def measure(
    engine: EngineName,
    variants: Mapping[str, Variant],
    takes: InputSpec,
    config: LatencyConfig,
    seed: int,
    clock: Clock = "wall",
) -> Measurement:
    """Time every variant on one engine, in this process.

    Raises:
        Exception: whatever the engine raises when it is not installed, or cannot load or run a
            model.
    """
    measured = Measurement(about={"version": version(engine)})
    for batch_size in config.batch_sizes:
        x, key = takes.example(batch_size, seed), f"batch{batch_size}"
        runners = {
            name: ENGINES[engine].load(variant, batch_size, config.num_threads, measured.about)
            for name, variant in variants.items()
        }
        with pinned(engine, config.num_threads):
            for name, run in runners.items():
                measured.outputs.setdefault(name, {})[key] = run(x).tolist()
            times = interleave(runners, x, config.warmup, config.repeats, clock)
        first = next(iter(times))
        for name, nanoseconds in times.items():
            ratio = {} if name == first else paired_ratio(nanoseconds, times[first], seed)
            measured.latencies.setdefault(name, {})[key] = {
                **summarize(nanoseconds, batch_size, config.num_threads),
                **ratio,
            }
    return measured


def outputs(engine: EngineName, variant: Variant, x: Batch, num_threads: int) -> FloatArray:
    """Of a model on an engine, in this process, shape (images, classes).

    Engines are loaded for one size of batch: what is missing in the last one is filled with the
    first images, and cut off.
    """
    filled = x[np.resize(np.arange(len(x)), -(-len(x) // AT_ONCE) * AT_ONCE)]
    run = ENGINES[engine].load(variant, AT_ONCE, num_threads, {})
    with pinned(engine, num_threads):
        made = [
            np.array(run(np.ascontiguousarray(filled[i : i + AT_ONCE])), np.float32)
            for i in range(0, len(filled), AT_ONCE)
        ]
    return np.concatenate(made)[: len(x)]
