"""What each candidate of a search would give: val accuracy beside weights, multiply-adds and measured time."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seam.compaction import ENGINE_BLOCK, compact
from seam.configs.inference import EngineName
from seam.files import read_json, read_rows
from seam.inference.engines import ENGINES
from seam.inference.latency import benchmark
from seam.inference.variants import InputSpec, Variant
from seam.masks.masks import apply_masks
from seam.masks.pack import load_mask_pack
from seam.measures.macs import count
from seam.measures.shipped import Claim, ship
from seam.networks.head import Reengineered
from seam.networks.norms import load_norms
from tasks.inputs.problem import load_model, problem_source
from tasks.project.stage import StageContext

COLUMNS = ("density", "macs", "val_accuracy")
"""Of the table; a column ENGINE_ms for each engine follows."""
_FEWER = 5  # repeats than for the result itself, by this factor


def timed_engines(context: StageContext) -> tuple[EngineName, ...]:
    """Engines that candidates are timed on: those that read ONNX files, in floating point."""
    return tuple(name for name in context.params.benchmark_latency.engines if ENGINES[name].takes == "onnx")


def measured_frontier(
    context: StageContext, original: Variant, progress: Callable[[float, str], None]
) -> list[dict[str, Any]]:
    """Compact, export and time every candidate, side by side with the original, which is the first row.

    Their heads and normalisation layers are the chosen candidate's: other values, the same time.

    Args:
        context: of the problem.
        original: the source, exported.
        progress: called with the share done and a text.

    Returns:
        Rows of `COLUMNS` and ENGINE_ms, median milliseconds a batch; None where an engine is not
        available. `density` is a share of the source's weights, `macs` those of one image that are
        not by zero. No rows where the search kept no candidates' masks (`drift`), or no engine is
        left.
    """
    packs = sorted(context.artifact("search", "candidates").iterdir(), key=lambda path: int(path.stem))
    if not packs or not timed_engines(context):
        return []
    source = problem_source(context)
    example = source.example()
    whole = load_model(context, "head_only")
    assert isinstance(whole, Reengineered)
    load_norms(whole.network, context.artifact("search", "norms.safetensors"))
    candidates = read_rows(context.artifact("search", "frontier.csv"))
    found = read_json(context.artifact("search", "metrics.json"))
    rows = [_row(1.0, source.network, example, found["source_val_accuracy"])]
    with tempfile.TemporaryDirectory() as folder:
        variants = {"source": original}
        for number, (candidate, pack) in enumerate(zip(candidates, packs, strict=True)):
            progress(0.5 * number / len(candidates), f"export candidate {number + 1} of {len(candidates)}")
            model = copy.deepcopy(whole)
            apply_masks(model.network, load_mask_pack(pack, source.info.sha256).masks)
            smaller, path = compact(model, example, ENGINE_BLOCK).module, Path(folder) / f"{number}.onnx"
            row = _row(candidate["density"], smaller, example, candidate["val_accuracy"])
            ship(smaller, example, path, Claim({"macs_nonzero": row["macs"]}))
            variants[str(number)] = Variant(path, smaller)
            rows.append(row)
        spec = InputSpec(tuple(example.shape[1:]))
        times = _median_times(context, variants, spec, lambda done, text: progress(0.5 + 0.5 * done, text))
    return [row | taken for row, taken in zip(rows, times, strict=True)]


def _row(density: Any, module: nn.Module, example: torch.Tensor, val_accuracy: Any) -> dict[str, Any]:
    """One model's values of `COLUMNS`."""
    return dict(zip(COLUMNS, (density, count(module, example).macs_nonzero, val_accuracy), strict=True))


def _median_times(
    context: StageContext, variants: Mapping[str, Variant], spec: InputSpec, progress: Callable[[float, str], None]
) -> list[dict[str, float | None]]:
    """ENGINE_ms of each variant, in order, at the largest batch and with fewer repeats than for the result itself.

    Milliseconds a batch; None where the engine is not available.
    """
    config = context.params.benchmark_latency
    once = replace(
        config,
        engines=timed_engines(context),
        batch_sizes=config.batch_sizes[-1:],
        repeats=max(10, config.repeats // _FEWER),
    )
    latencies, _ = benchmark(variants, spec, once, context.params.seed, progress)
    batch = f"batch{once.batch_sizes[0]}"
    return [
        {
            f"{engine}_ms": None if "unavailable" in measured else measured[name][batch]["latency_ms_p50"]
            for engine, measured in latencies.items()
        }
        for name in variants
    ]
