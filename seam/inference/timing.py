"""How calls are timed: in turn, so that whatever disturbs the machine disturbs all, and what is made of the times."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from seam.hardware import describe
from seam.inference.variants import Batch, Runner

_RESAMPLES = 2000
Clock = Literal["wall", "cpu"]
"""What counts: the time that passes, or the time that this process computes, which with one thread
is the same where nothing else wants the core, and hardly changes where something does."""
_CLOCKS = {"wall": time.perf_counter_ns, "cpu": time.process_time_ns}


def interleave(
    runners: Mapping[str, Runner], x: Batch, warmup: int, repeats: int, clock: Clock = "wall"
) -> dict[str, list[int]]:
    """Nanoseconds of `repeats` calls of each runner in turn, in alternating order, after `warmup` untimed calls."""
    now = _CLOCKS[clock]
    times: dict[str, list[int]] = {name: [] for name in runners}
    forward = list(runners.items())
    turns = [forward, forward[::-1]]
    for i in range(-warmup, repeats):
        for name, run in turns[i % 2]:
            start = now()
            run(x)
            elapsed = now() - start
            if i >= 0:
                times[name].append(elapsed)
    return times


def summarize(nanoseconds: Sequence[int], batch_size: int, num_threads: int) -> dict[str, float | int]:
    """Percentiles in milliseconds per call (not per image), with the conditions they were taken under."""
    p50, p95 = np.percentile(np.asarray(nanoseconds) / 1e6, [50, 95])
    return {
        "latency_ms_p50": round(float(p50), 6),
        "latency_ms_p95": round(float(p95), 6),
        "latency_ms_min": round(min(nanoseconds) / 1e6, 6),
        "num_threads": num_threads,
        "batch_size": batch_size,
        "repeats": len(nanoseconds),
    }


def paired_ratio(nanoseconds: Sequence[int], reference: Sequence[int], seed: int) -> dict[str, float | int]:
    """How much longer one runner took than another that was called in turn with it, and a 95% interval.

    Two turns that follow each other, in which the two went first once each, make one pair of sums:
    neither order nor slow drift of the machine favours one of them. The ratio is the median over
    pairs; the interval is a percentile bootstrap of it in which pairs are drawn in blocks of
    neighbours, as what disturbs a call often disturbs the next ones too.

    Args:
        nanoseconds: of the one, from `interleave`.
        reference: of the other, from the same `interleave`.
        seed: of the draws.

    Returns:
        ratio, ratio_low, ratio_high.
    """
    pairs = len(reference) // 2
    summed = [np.asarray(times[: 2 * pairs], np.float64).reshape(pairs, 2).sum(1) for times in (nanoseconds, reference)]
    ratios = summed[0] / summed[1]
    block = max(1, round(pairs ** (1 / 3)))
    starts = np.random.default_rng(seed).integers(0, pairs, (_RESAMPLES, -(-pairs // block)))
    drawn = ((starts[:, :, None] + np.arange(block)) % pairs).reshape(_RESAMPLES, -1)[:, :pairs]
    low, high = np.quantile(np.median(ratios[drawn], axis=1), [0.025, 0.975])
    return {
        "ratio": round(float(np.median(ratios)), 4),
        "ratio_low": round(float(low), 4),
        "ratio_high": round(float(high), 4),
    }


def hardware() -> dict[str, Any]:
    """The machine, and how busy it is (1, 5, 15 minutes)."""
    return {
        **describe(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }
