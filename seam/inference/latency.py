"""Inference time of several variants of a model on several engines, side by side.

The protocol, the same for every engine: threads pinned, seeded inputs, untimed warm-up, then one
call of each variant in turn (the order alternates), so that whatever disturbs the machine disturbs
all variants. Median and 95th percentile, and the ratio to the first variant with its confidence
interval, from pairs of turns.

Source: SeaM section 4.2 times DeepSparse at batch 16 on all cores and reports the mean; *differs*:
threads pinned, variants interleaved, percentiles, batch 1 too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from seam.configs.inference import EngineName, LatencyConfig
from seam.errors import ExportError
from seam.inference.agreement import compared
from seam.inference.engines import ENGINES, version
from seam.inference.isolated import measure_isolated
from seam.inference.measure import Measurement, measure
from seam.inference.variants import Batch, FloatArray, InputSpec, Variant, rounds

_TOLERANCE = 1e-3  # relative to the largest output; engines may reorder sums
_TOLERANCE_INT8 = 0.25  # the same of models in 8 bits, which engines round differently


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
            run = measure_isolated if ENGINES[engine].isolated else measure
            measured = run(engine, variants, takes, config, seed)
            if ENGINES[engine].takes != "int8":  # those are judged by their accuracy
                _check_outputs(measured, expected, tolerances)
            results[engine], about[engine] = dict(measured.latencies), measured.about
        except Exception as e:  # an engine that fails in any way is reported, the rest goes on
            results[engine] = {"unavailable": _one_line(e)}
            about[engine] = {"version": version(engine)}
    return results, about


def _expected_outputs(variants: Mapping[str, Variant], x: Batch) -> dict[str, FloatArray]:
    """Those of torch or, where there is only an ONNX file, of ONNX Runtime."""
    engines: dict[str, EngineName] = {
        name: "onnxruntime" if variant.module is None else "torch" for name, variant in variants.items()
    }
    return {name: ENGINES[engines[name]].load(variant, len(x), 1, {})(x) for name, variant in variants.items()}


def _check_outputs(
    measured: Measurement, expected: Mapping[int, Mapping[str, FloatArray]], tolerances: Mapping[str, float]
) -> None:
    """Raise ExportError when an engine computes something else than expected: its times would mean nothing."""
    for batch_size, by_variant in expected.items():
        for name, wanted in by_variant.items():
            got = np.asarray(measured.outputs[name][f"batch{batch_size}"], np.float32)
            found = compared(got, wanted)
            if found.deviation is None or found.deviation > tolerances[name]:
                differ = "in shape or are not finite" if found.max_abs_diff is None else f"by {found.max_abs_diff:.3g}"
                raise ExportError(
                    f"its outputs of '{name}' at batch {batch_size} differ from those expected {differ}, expected at"
                    f" most {tolerances[name]:g} of the largest."
                )


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, (RuntimeError, ExportError)) and text else f"{type(error).__name__}: {text}"
