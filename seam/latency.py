"""Inference time of several variants of a model on several engines, side by side.

The protocol, the same for every engine: threads pinned, seeded inputs, untimed warm-up, then one call of each variant in
turn (the order alternates), so that whatever disturbs the machine disturbs all variants. Median and 95th percentile.

Source: SeaM section 4.2 times DeepSparse at batch 16 on all cores and reports the mean; *differs*: threads pinned, variants
interleaved, percentiles, batch 1 too.

An engine that may crash runs in a process of its own, which does not import torch:
`python -m seam.latency REQUEST.json RESPONSE.json`.
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

from seam.configs import LatencyConfig
from seam.engines import LOADERS, FloatArray, Runner, Variant, load_torch, pinned_torch, version
from seam.errors import ExportError
from seam.files import read_json, write_json

_ISOLATED = ("deepsparse",)  # a CPU it does not know can end the process instead of raising
_TOLERANCE = 1e-3  # from torch, relative to the largest output; engines may reorder sums
_LIMIT_S = 1800.0


@dataclass
class Measurement:
    """What one engine did."""

    latencies: dict[str, dict[str, dict[str, float | int]]] = field(default_factory=dict)
    """variant -> "batch<N>" -> latency_ms_p50, latency_ms_p95, latency_ms_min, num_threads, batch_size, repeats."""
    outputs: dict[str, dict[str, list[list[float]]]] = field(default_factory=dict)
    """variant -> "batch<N>" -> outputs for `example_batch`, to compare engines."""
    about: dict[str, Any] = field(default_factory=dict)
    """Version, and what else the engine says of itself."""


def benchmark(
    variants: Mapping[str, Variant],
    input_shape: tuple[int, int, int],
    config: LatencyConfig,
    seed: int,
    progress: Callable[[float, str], None] = lambda share, text: None,
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Time every variant on every engine of `config`.

    Args:
        variants: name -> model; every one with a module.
        input_shape: (channels, height, width).
        config: engines, batch sizes, threads, warm-up and repeats.
        seed: of the uniform [0, 1) inputs.
        progress: called with the share done and a text before each engine.

    Returns:
        Results by engine (latencies by variant and batch size, or {"unavailable": reason}), and by engine what it says of itself.
    """
    expected = {b: _torch_outputs(variants, example_batch(b, input_shape, seed)) for b in config.batch_sizes}
    results: dict[str, dict[str, Any]] = {}
    about: dict[str, Any] = {}
    for i, engine in enumerate(config.engines):
        progress(i / len(config.engines), engine)
        try:
            run = _measure_isolated if engine in _ISOLATED else measure
            measured = run(engine, variants, input_shape, config, seed)
            _check_outputs(measured, expected)
            results[engine], about[engine] = dict(measured.latencies), measured.about
        except Exception as e:  # an engine that fails in any way is reported, the rest goes on
            results[engine] = {"unavailable": _one_line(e)}
            about[engine] = {"version": version(engine)}
    return results, about


def measure(engine: str, variants: Mapping[str, Variant], input_shape: tuple[int, int, int], config: LatencyConfig, seed: int) -> Measurement:
    """Time every variant on one engine, in this process.

    Raises:
        Exception: whatever the engine raises when it is not installed, or cannot load or run a model.
    """
    measured = Measurement(about={"version": version(engine)})
    for batch_size in config.batch_sizes:
        x, key = example_batch(batch_size, input_shape, seed), f"batch{batch_size}"
        runners = {name: LOADERS[engine](variant, batch_size, config.num_threads, measured.about) for name, variant in variants.items()}
        with pinned_torch(engine, config.num_threads):
            for name, run in runners.items():
                measured.outputs.setdefault(name, {})[key] = run(x).tolist()
            times = interleave(runners, x, config.warmup, config.repeats)
        for name, nanoseconds in times.items():
            measured.latencies.setdefault(name, {})[key] = summarize(nanoseconds, batch_size, config.num_threads)
    return measured


def interleave(runners: Mapping[str, Runner], x: FloatArray, warmup: int, repeats: int) -> dict[str, list[int]]:
    """Nanoseconds of `repeats` calls of each runner, taken in turn, in alternating order, after `warmup` untimed calls."""
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


def example_batch(batch_size: int, input_shape: tuple[int, int, int], seed: int) -> FloatArray:
    """Uniform [0, 1) inputs, C-contiguous float32."""
    return np.random.default_rng(seed).random((batch_size, *input_shape), dtype=np.float32)


def _measure_isolated(engine: str, variants: Mapping[str, Variant], input_shape: tuple[int, int, int], config: LatencyConfig, seed: int) -> Measurement:
    """`measure` in a process of its own, which may crash or hang."""
    if importlib.util.find_spec(engine) is None:
        raise RuntimeError(f"not installed ({platform.system()} {platform.machine()}, Python {platform.python_version()})")
    request = {
        "engine": engine,
        "onnx": {name: str(variant.onnx.resolve()) for name, variant in variants.items()},
        "input_shape": list(input_shape),
        "config": asdict(config),
        "seed": seed,
    }
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / "request.json", Path(folder) / "response.json"]
        write_json(files[0], request)
        command = [sys.executable, "-m", "seam.latency", *map(str, files)]
        environment = {**os.environ, "NM_DISABLE_ANALYTICS": "1"}
        try:
            done = subprocess.run(command, cwd=Path(__file__).parents[1], env=environment, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
        except subprocess.TimeoutExpired as e:
            raise RuntimeError(f"it did not finish within {_LIMIT_S:g} s") from e
        if done.returncode < 0:
            raise RuntimeError(f"its process was ended by {signal.Signals(-done.returncode).name}; this CPU is probably not supported")
        if done.returncode > 0:
            raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"its process ended with status {done.returncode}")
        return Measurement(**read_json(files[1]))


def _serve_request(request: Path, response: Path) -> None:
    """The other end of `_measure_isolated`."""
    wanted = read_json(request)
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in wanted["config"].items()}
    config = LatencyConfig(**values)
    variants = {name: Variant(Path(path)) for name, path in wanted["onnx"].items()}
    channels, height, width = wanted["input_shape"]
    measured = measure(wanted["engine"], variants, (channels, height, width), config, wanted["seed"])
    write_json(response, asdict(measured))


def _torch_outputs(variants: Mapping[str, Variant], x: FloatArray) -> dict[str, FloatArray]:
    return {name: load_torch(variant, len(x), 1, {})(x) for name, variant in variants.items()}


def _check_outputs(measured: Measurement, expected: Mapping[int, Mapping[str, FloatArray]]) -> None:
    """Raise ExportError when an engine computes something else than torch: its times would mean nothing."""
    for batch_size, by_variant in expected.items():
        for name, wanted in by_variant.items():
            got = np.asarray(measured.outputs[name][f"batch{batch_size}"])
            difference = float(np.abs(got - wanted).max()) if got.shape == wanted.shape else math.inf
            allowed = _TOLERANCE * max(1.0, float(np.abs(wanted).max()))
            if not difference <= allowed:  # also when it is NaN
                raise ExportError(f"its outputs of '{name}' at batch {batch_size} differ from torch by {difference:.3g}, expected at most {allowed:.3g}.")


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, (RuntimeError, ExportError)) and text else f"{type(error).__name__}: {text}"


if __name__ == "__main__":
    _serve_request(Path(sys.argv[1]), Path(sys.argv[2]))
