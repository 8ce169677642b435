"""Inference time of original, re-engineered and compacted model, side by side on every engine, of checked files.

And whether every engine answers what torch does.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from seam.compaction import Compacted
from seam.errors import ExportError, SuspectResultWarning
from seam.files import sha256_file, write_csv, write_json
from seam.inference.export import OPSET
from seam.inference.latency import benchmark
from seam.inference.timing import hardware
from seam.inference.variants import InputSpec, Variant
from seam.measures.macs import count
from seam.measures.shipped import Claim, ship
from tasks.benchmark.agreement import doubt_agreement, engine_agreement
from tasks.benchmark.frontier import COLUMNS, measured_frontier, timed_engines
from tasks.benchmark.int8 import int8_engines, quantized
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
    reengineered, compacted = load_model(context, chosen), load_compacted(context, chosen)
    modules = {"source": source.network, "reengineered": reengineered, "compacted": compacted.module}
    with (
        context.publish() as out,
        tqdm(total=len(config.engines), desc=f"benchmark {context.name}", unit="engine", disable=None) as bar,
    ):
        exports = {name: _exported(context, name, module, example, out) for name, module in modules.items()}
        exports["compacted"] |= _channels(compacted)
        on_engine = _observer(context, bar)
        before = hardware()
        plain = {name: Variant(out / f"{name}.onnx", module) for name, module in modules.items()}
        variants, rounded, not_rounded = _with_int8(context, plain, out / "int8")
        spec = InputSpec(tuple(example.shape[1:]))
        latencies, engines = benchmark(variants, spec, config, context.params.seed, on_engine)
        latencies |= not_rounded
        agreement = engine_agreement(
            context, variants["compacted"], not_rounded, lambda share, engine: on_engine(1.0, f"outputs of {engine}")
        )
        on_engine(1.0, "done")
        candidates = _candidates(context, variants["source"])
        machine = {**before, "load_average_after": hardware()["load_average"]}
        with collect_warnings(context) as doubts:
            _doubt(latencies)
            doubt_agreement(agreement)
        about = {
            "hardware": machine,
            "engines": engines,
            "int8": rounded,
            "agreement": agreement,
            "fastest": fastest(latencies, _refused(rounded)),
            "warnings": doubts,
        }
        write_json(out / "export.json", {**exports, **about})
        write_json(out / "metrics.json", latencies)
        write_csv(out / "frontier.csv", (*COLUMNS, *(f"{engine}_ms" for engine in timed_engines(context))), candidates)
    batch = f"batch{config.batch_sizes[-1]}"
    return context.result({engine: _shown(latencies[engine], batch) for engine in config.engines})


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


def _exported(context: StageContext, name: str, module: nn.Module, example: torch.Tensor, out: Path) -> dict[str, Any]:
    """Write NAME.onnx to `out`; which model it is, its hash, its deviation from torch and its size."""
    context.progress(0.05, f"export {name}")
    path, counts = out / f"{name}.onnx", asdict(count(module, example))
    difference = ship(module, example, path, Claim(counts))
    return {
        "model": "source" if name == "source" else context.params.register_model.model,
        "sha256": sha256_file(path),
        "max_abs_diff": difference,
        "opset": OPSET,
        **counts,
    }


def _channels(compacted: Compacted) -> dict[str, Any]:
    """Output channels that compaction removed, by layer, and why others without effect are still there."""
    return {
        "channels_removed": sum(compacted.removed.values()),
        "removed": compacted.removed,
        "kept": compacted.kept,
    }


def _observer(context: StageContext, bar: Any) -> Callable[[float, str], None]:
    """Shows every new engine: progress bar, the run page."""
    num_engines = len(context.params.benchmark_latency.engines)

    def on_engine(share: float, engine: str) -> None:
        bar.update(round(share * num_engines) - bar.n)
        bar.set_postfix_str(engine)
        context.progress(0.1 + 0.6 * share, engine)

    return on_engine


def _with_int8(
    context: StageContext, variants: dict[str, Variant], folder: Path
) -> tuple[dict[str, Variant], dict[str, Any], dict[str, Any]]:
    """The variants with int8 models in the new `folder`, where an engine asks for them.

    Returns:
        The variants; what rounding cost, by engine and model; {"unavailable": reason} by engine,
        where the models could not be rounded.
    """
    folder.mkdir()
    engines = int8_engines(context)
    if not engines:
        return variants, {}, {}
    context.progress(0.1, "round to int8")
    try:
        made, about = quantized(context, variants, folder)
    except ExportError as e:  # as any engine that fails
        return variants, {}, {engine: {"unavailable": str(e)} for engine in engines}
    return made, about, {}


def _candidates(context: StageContext, original: Variant) -> list[dict[str, Any]]:
    """The rows of frontier.csv; none unless asked for."""
    if not context.params.benchmark_latency.frontier:
        return []
    return measured_frontier(context, original, lambda share, text: context.progress(0.7 + 0.3 * share, text))


def _refused(rounded: Mapping[str, Any]) -> set[tuple[str, str]]:
    """(engine, model) of every rounded model whose accuracy is not good enough."""
    return {
        (engine, name) for engine, models in rounded.items() for name, found in models.items() if not found["accepted"]
    }


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
