"""Inference time of several variants of a model on several engines, side by side.

The protocol, the same for every engine: threads pinned, seeded inputs, untimed warm-up, then one
call of each variant in turn (the order alternates), so that whatever disturbs the machine disturbs
all variants. Median and 95th percentile, and the ratio to the first variant with its confidence
interval, from pairs of turns.

Source: SeaM section 4.2 times DeepSparse at batch 16 on all cores and reports the mean; *differs*:
threads pinned, variants interleaved, percentiles, batch 1 too.

An engine that may crash runs in a process of its own, which does not import torch:
`python -m seam.inference.latency REQUEST.json RESPONSE.json`.
"""

from __future__ import annotations

import importlib.util
import math
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from seam.configs.inference import LatencyConfig
from seam.errors import ExportError
from seam.files import read_json, write_json
from seam.inference.engines import (
    LOADERS,
    QUANTIZED,
    Batch,
    FloatArray,
    InputSpec,
    Runner,
    Variant,
    pinned_torch,
    rounds,
    version,
)

_ISOLATED = ("deepsparse",)  # a CPU it does not know can end the process instead of raising
_TOLERANCE = 1e-3  # relative to the largest output; engines may reorder sums
_TOLERANCE_INT8 = 0.25  # the same of models in 8 bits, which engines round differently
_LIMIT_S = 1800.0
_RESAMPLES = 2000


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


def benchmark(
    variants: Mapping[str, Variant],
    takes: InputSpec,
    config: LatencyConfig,
    seed: int,
    progress: Callable[[float, str], None] = lambda share, text: None,
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Time every variant on every engine of `config`.

    Args:
        variants: name -> model. The outputs of those that have a module must be torch's, of the
            others ONNX Runtime's.
        takes: their input.
        config: engines, batch sizes, threads, warm-up and repeats.
        seed: of the inputs, and of the draws of intervals.
        progress: called with the share done and a text before each engine.

    Returns:
        Results by engine (latencies by variant and batch size, or {"unavailable": reason}), and by
        engine what it says of itself.
    """
    expected = {b: _expected_outputs(variants, takes.example(b, seed)) for b in config.batch_sizes}
    tolerances = {name: _TOLERANCE_INT8 if rounds(variant.onnx) else _TOLERANCE for name, variant in variants.items()}
    results: dict[str, dict[str, Any]] = {}
    about: dict[str, Any] = {}
    for i, engine in enumerate(config.engines):
        progress(i / len(config.engines), engine)
        try:
            run = _measure_isolated if engine in _ISOLATED else measure
            measured = run(engine, variants, takes, config, seed)
            if engine not in QUANTIZED:  # those are judged by their accuracy
                _check_outputs(measured, expected, tolerances)
            results[engine], about[engine] = dict(measured.latencies), measured.about
        except Exception as e:  # an engine that fails in any way is reported, the rest goes on
            results[engine] = {"unavailable": _one_line(e)}
            about[engine] = {"version": version(engine)}
    return results, about


def measure(
    engine: str, variants: Mapping[str, Variant], takes: InputSpec, config: LatencyConfig, seed: int
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
            name: LOADERS[engine](variant, batch_size, config.num_threads, measured.about)
            for name, variant in variants.items()
        }
        with pinned_torch(engine, config.num_threads):
            for name, run in runners.items():
                measured.outputs.setdefault(name, {})[key] = run(x).tolist()
            times = interleave(runners, x, config.warmup, config.repeats)
        first = next(iter(times))
        for name, nanoseconds in times.items():
            ratio = {} if name == first else paired_ratio(nanoseconds, times[first], seed)
            measured.latencies.setdefault(name, {})[key] = {
                **summarize(nanoseconds, batch_size, config.num_threads),
                **ratio,
            }
    return measured


def interleave(runners: Mapping[str, Runner], x: Batch, warmup: int, repeats: int) -> dict[str, list[int]]:
    """Nanoseconds of `repeats` calls of each runner in turn, in alternating order, after `warmup` untimed calls."""
    times: dict[str, list[int]] = {name: [] for name in runners}
    forward = list(runners.items())
    turns = [forward, forward[::-1]]
    for i in range(-warmup, repeats):
        for name, run in turns[i % 2]:
            start = time.perf_counter_ns()
            run(x)
            elapsed = time.perf_counter_ns() - start
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


def _measure_isolated(
    engine: str, variants: Mapping[str, Variant], takes: InputSpec, config: LatencyConfig, seed: int
) -> Measurement:
    """`measure` in a process of its own, which may crash or hang."""
    if importlib.util.find_spec(engine) is None:
        raise RuntimeError(
            f"not installed ({platform.system()} {platform.machine()}, Python {platform.python_version()})"
        )
    request = {
        "engine": engine,
        "onnx": {name: str(variant.onnx.resolve()) for name, variant in variants.items()},
        "takes": asdict(takes),
        "config": asdict(config),
        "seed": seed,
    }
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / "request.json", Path(folder) / "response.json"]
        write_json(files[0], request)
        command = [sys.executable, "-m", "seam.inference.latency", *map(str, files)]
        environment = {**os.environ, "NM_DISABLE_ANALYTICS": "1"}
        try:
            done = subprocess.run(
                command,
                cwd=Path(__file__).parents[2],
                env=environment,
                capture_output=True,
                text=True,
                timeout=_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as e:
            raise RuntimeError(f"it did not finish within {_LIMIT_S:g} s") from e
        if done.returncode < 0:
            raise RuntimeError(
                f"its process was ended by {signal.Signals(-done.returncode).name}; this CPU is probably not supported"
            )
        if done.returncode > 0:
            raise RuntimeError(
                done.stderr.strip().splitlines()[-1]
                if done.stderr.strip()
                else f"its process ended with status {done.returncode}"
            )
        return Measurement(**read_json(files[1]))


def _serve_request(request: Path, response: Path) -> None:
    """The other end of `_measure_isolated`."""
    wanted = read_json(request)
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in wanted["config"].items()
    }
    config = LatencyConfig(**values)
    variants = {name: Variant(Path(path)) for name, path in wanted["onnx"].items()}
    takes = InputSpec(tuple(wanted["takes"]["shape"]), wanted["takes"]["dtype"])
    measured = measure(wanted["engine"], variants, takes, config, wanted["seed"])
    write_json(response, asdict(measured))


def _expected_outputs(variants: Mapping[str, Variant], x: Batch) -> dict[str, FloatArray]:
    """Those of torch or, where there is only an ONNX file, of ONNX Runtime."""
    engines = {name: "onnxruntime" if variant.module is None else "torch" for name, variant in variants.items()}
    return {name: LOADERS[engines[name]](variant, len(x), 1, {})(x) for name, variant in variants.items()}


def _check_outputs(
    measured: Measurement, expected: Mapping[int, Mapping[str, FloatArray]], tolerances: Mapping[str, float]
) -> None:
    """Raise ExportError when an engine computes something else than expected: its times would mean nothing."""
    for batch_size, by_variant in expected.items():
        for name, wanted in by_variant.items():
            got = np.asarray(measured.outputs[name][f"batch{batch_size}"])
            difference = float(np.abs(got - wanted).max()) if got.shape == wanted.shape else math.inf
            allowed = tolerances[name] * max(1.0, float(np.abs(wanted).max()))
            if not difference <= allowed:  # also when it is NaN
                raise ExportError(
                    f"its outputs of '{name}' at batch {batch_size} differ from those expected by {difference:.3g},"
                    f" expected at most {allowed:.3g}."
                )


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, (RuntimeError, ExportError)) and text else f"{type(error).__name__}: {text}"


if __name__ == "__main__":
    _serve_request(Path(sys.argv[1]), Path(sys.argv[2]))
