"""Inference time of original, re-engineered and compacted model, side by side on every engine, of checked files."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

from torch import nn
from tqdm import tqdm

from seam.errors import ExportError, SuspectResultWarning
from seam.files import sha256_file, write_csv, write_json
from seam.inference.engines import ENGINES
from seam.inference.export import OPSET, export_onnx
from seam.inference.latency import benchmark
from seam.inference.timing import hardware
from seam.inference.variants import InputSpec, Variant
from seam.measures.macs import count
from tasks.benchmark.frontier import COLUMNS, measured_frontier, timed_engines
from tasks.benchmark.int8 import quantized
from tasks.inputs.problem import load_compacted, load_model, problem_source
from tasks.project.stage import StageContext, StageResult, collect_warnings, main

_NOISY = 1.5  # median over fastest


def benchmark_latency(context: StageContext) -> StageResult:
    """Export the models, time them interleaved, publish the ONNX files, export.json, metrics.json and frontier.csv.

    `compacted` is `reengineered` without the channels that its mask left without effect: the same
    outputs, for engines that compute zeros.
    """
    config, source = context.params.benchmark_latency, problem_source(context)
    chosen = context.params.register_model.model
    example = source.example()
    reengineered = load_model(context, chosen)
    compacted = load_compacted(context, chosen)
    modules: dict[str, nn.Module] = {
        "source": source.network,
        "reengineered": reengineered,
        "compacted": compacted.module,
    }
    with (
        context.publish() as out,
        tqdm(total=len(config.engines), desc=f"benchmark {context.name}", unit="engine", disable=None) as bar,
    ):
        exports: dict[str, Any] = {}
        for name, module in modules.items():
            context.progress(0.05, f"export {name}")
            difference = export_onnx(module, example, out / f"{name}.onnx")
            sizes = asdict(count(module, example))
            exports[name] = {
                "model": chosen,
                "sha256": sha256_file(out / f"{name}.onnx"),
                "max_abs_diff": difference,
                "opset": OPSET,
                **sizes,
            }
        exports["source"]["model"] = "source"
        exports["compacted"] |= {
            "channels_removed": sum(compacted.removed.values()),
            "removed": compacted.removed,
            "kept": compacted.kept,
        }

        def on_engine(share: float, engine: str) -> None:
            bar.update(round(share * len(config.engines)) - bar.n)
            bar.set_postfix_str(engine)
            context.progress(0.1 + 0.6 * share, engine)

        before = hardware()
        variants = {name: Variant(out / f"{name}.onnx", module) for name, module in modules.items()}
        rounded: dict[str, Any] = {}
        not_rounded: str | None = None
        (out / "int8").mkdir()
        rounding = [name for name in config.engines if ENGINES[name].takes == "int8"]
        if rounding:
            context.progress(0.1, "round to int8")
            try:
                variants, rounded = quantized(context, variants, out / "int8")
            except ExportError as e:  # as any engine that fails
                not_rounded = str(e)
        spec = InputSpec(tuple(example.shape[1:]))
        latencies, engines = benchmark(variants, spec, config, context.params.seed, on_engine)
        if not_rounded:
            latencies |= {engine: {"unavailable": not_rounded} for engine in rounding}
        on_engine(1.0, "done")
        rows = (
            measured_frontier(
                context, variants["source"], lambda share, text: context.progress(0.7 + 0.3 * share, text)
            )
            if config.frontier
            else []
        )
        machine = {**before, "load_average_after": hardware()["load_average"]}
        with collect_warnings(context) as doubts:
            _doubt(latencies)
        refused = {
            (engine, name)
            for engine, models in rounded.items()
            for name, found in models.items()
            if not found["accepted"]
        }
        about = {
            "hardware": machine,
            "engines": engines,
            "int8": rounded,
            "fastest": fastest(latencies, refused),
            "warnings": doubts,
        }
        write_json(out / "export.json", {**exports, **about})
        write_json(out / "metrics.json", latencies)
        write_csv(out / "frontier.csv", (*COLUMNS, *(f"{engine}_ms" for engine in timed_engines(context))), rows)
    return context.result(
        {engine: _shown(latencies[engine], f"batch{config.batch_sizes[-1]}") for engine in config.engines}
    )


def fastest(
    latencies: Mapping[str, Any], refused: Collection[tuple[str, str]] = ()
) -> dict[str, dict[str, dict[str, Any]]]:
    """The engine with the smallest median time, by batch size.

    For the original, and for the re-engineered model in either form.

    Args:
        latencies: engine -> model -> batch<N> -> times, or {"unavailable": reason}.
        refused: (engine, model) whose accuracy is not good enough.

    Returns:
        batch<N> -> "source" and "reengineered" -> {engine, model, latency_ms_p50}.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for engine, variants in latencies.items():
        for model, batches in variants.items() if "unavailable" not in variants else ():
            if (engine, model) in refused:
                continue
            for batch, measured in batches.items():
                side = found.setdefault(batch, {})
                key, taken = "source" if model == "source" else "reengineered", measured["latency_ms_p50"]
                if key not in side or taken < side[key]["latency_ms_p50"]:
                    side[key] = {"engine": engine, "model": model, "latency_ms_p50": taken}
    return found


def _doubt(latencies: dict[str, Any]) -> None:
    """Warn of medians far above the fastest call.

    Something else kept the machine busy, and ratios of medians mislead.
    """
    disturbed = [
        f"{engine} {name} {batch}"
        for engine, variants in latencies.items()
        if "unavailable" not in variants
        for name, batches in variants.items()
        for batch, measured in batches.items()
        if measured["latency_ms_p50"] > _NOISY * measured["latency_ms_min"]
    ]
    if disturbed:
        text = (
            f"latency: the median is more than {_NOISY:g} times the fastest call for {', '.join(disturbed)}; the"
            " machine was busy, measure again when idle."
        )
        warnings.warn(text, SuspectResultWarning, stacklevel=2)


def _shown(measured: dict[str, Any], batch: str) -> str:
    """One engine's outcome in a few words."""
    if "unavailable" in measured:
        return f"unavailable: {measured['unavailable']}"
    before, after, smaller = (
        measured[name][batch]["latency_ms_p50"] for name in ("source", "reengineered", "compacted")
    )
    return f"{before:.3g} -> {after:.3g} ms, compacted {smaller:.3g} ms ({batch})"


if __name__ == "__main__":
    main(benchmark_latency, __doc__)
