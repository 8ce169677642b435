"""SeaM's mask search: which of the source's weights does the target problem need?"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from seam.configs.search import SearchConfig
from seam.errors import SuspectResultWarning
from seam.files import write_csv, write_json
from seam.hardware import in_words
from seam.masks.pack import save_mask_pack
from seam.measures.macs import weight_macs
from seam.networks.head import SourceOnProblem
from seam.networks.norms import save_norms
from seam.networks.predict import accuracy, predict
from seam.networks.source import Source
from seam.networks.state_dicts import save_weights
from seam.runtime import Runtime, start
from seam.search.mask_search import MaskSearch
from seam.search.problem import SearchProblem
from seam.search.result import Round, SearchResult
from seam.search.run import search as run_search
from seam.search.time_table import TimeTable, load_times
from tasks.inputs.one_gpu import one_gpu
from tasks.inputs.problem import problem_images, problem_source
from tasks.project.stage import StageContext, StageResult, collect_warnings, main
from tasks.tracking.search_logger import SearchLogger

_HISTORY = ("round", "cross_entropy", "density", "val_accuracy", "accepted")
_FRONTIER = ("density", "val_accuracy", "round")
_CONDITIONS = ("engine", "version", "batch_size", "num_threads", "machine")
"""Of a time table."""


def search(context: StageContext) -> StageResult:
    """Search, continuing a killed one.

    Publish mask pack, heads, normalisation layers, history, and the frontier with its masks.
    """
    config, source = context.params.search, problem_source(context)
    bar = tqdm(desc=f"search {context.name}", unit="round", total=config.rounds, disable=None)
    gpu = one_gpu(context.params.runtime, context.progress)
    with gpu, collect_warnings(context) as doubts, SearchLogger(context) as log, bar:
        on_round = _observer(context, bar, log)
        runtime = start(context.params.runtime, source.info.pixels)
        problem, seed, training = search_problem(context, source, runtime), context.params.seed, context.params.finetune
        result = run_search(problem, config, runtime, seed, checkpoint_of(context), on_round, training)
        _doubt(result, config)
    channels = _channels(context, source, result)
    with context.publish() as out:
        mask_sha256 = _save_models(result, source, out)
        write_csv(out / "history.csv", _HISTORY, map(asdict, result.rounds))
        write_csv(out / "frontier.csv", _FRONTIER, map(asdict, result.frontier))
        write_json(out / "metrics.json", _metrics(result, mask_sha256, runtime, channels, doubts))
    return context.result(
        {
            "density": result.best.density,
            "val_accuracy": result.best.val_accuracy,
            "rounds": len(result.rounds),
            "seconds": round(result.seconds, 1),
        }
    )


def checkpoint_of(context: StageContext) -> Path:
    """Where an unfinished search of this problem is kept."""
    return context.work_folder / "checkpoint.safetensors"


def prepare(context: StageContext, source: Source) -> MaskSearch:
    """The search of this problem in `source`, before its first round; not of one that is two, `hybrid`."""
    runtime = start(context.params.runtime, source.info.pixels)
    return MaskSearch(search_problem(context, source, runtime), context.params.search, runtime, context.params.seed)


def search_problem(context: StageContext, source: Source, runtime: Runtime) -> SearchProblem:
    """What is searched, and for what."""
    config = context.params.search
    problem = context.target_problem(source.info.classes)
    train, val = problem_images(context, "train"), problem_images(context, config.select_on)
    spare = problem_images(context, "spare") if problem.is_binary and config.negatives == "redrawn" else None
    preprocess = source.preprocess().to(runtime.device)
    on_device = val.to(runtime.device)
    original = SourceOnProblem(source.network, problem.target_indices, len(problem.source_classes)).to(runtime.device)
    source_val_accuracy = accuracy(predict(original, on_device, preprocess), on_device.labels)
    macs = None if config.cost == "weights" else weight_macs(source.network, source.example())
    times = _times(context, source) if config.cost == "milliseconds" else None
    return SearchProblem(
        source.network, preprocess, train, val, problem.num_classes, source_val_accuracy, macs, spare, times
    )


def _times(context: StageContext, source: Source) -> TimeTable:
    """What widths of the source save, on the machine where the stage profile_source ran."""
    return load_times(context.artifact("profile_source", "times.json"), source.info.sha256)


def _save_models(result: SearchResult, source: Source, out: Path) -> str:
    """Write mask pack, heads, normalisation layers and the candidates' masks to `out`; returns the mask pack's hash."""
    mask_sha256 = save_mask_pack(result.masks, source.info.sha256, out / "mask.safetensors")
    save_weights(result.head, out / "head.safetensors")
    save_weights(result.head_only, out / "head_only.safetensors")
    save_norms(result.norms, out / "norms.safetensors")
    (out / "candidates").mkdir()
    for number, masks in enumerate(result.candidates):
        save_mask_pack(masks, source.info.sha256, out / "candidates" / f"{number}.safetensors")
    return mask_sha256


def _channels(context: StageContext, source: Source, result: SearchResult) -> dict[str, Any] | None:
    """What metrics.json says of the layout of whole channels; None: none was chosen."""
    chosen, cost = result.chosen, context.params.search.cost
    if chosen is None:
        return None
    about = {
        "structure": context.params.search.structure,
        "rule": chosen.rule,
        "layout": chosen.layout,
        "whole_layout": chosen.whole_layout,
        "cost": cost,
        "cost_kept": chosen.cost / chosen.cost_of_all,
        "tried": [asdict(layout) for layout in result.tried],
    }
    if cost == "milliseconds":
        times = _times(context, source)
        about |= {"predicted_latency_ms_p50": chosen.cost, "source_latency_ms_p50": chosen.cost_of_all}
        about |= {key: getattr(times, key) for key in _CONDITIONS}
    return about


def _metrics(
    result: SearchResult, mask_sha256: str, runtime: Runtime, channels: dict[str, Any] | None, doubts: list[str]
) -> dict[str, Any]:
    """What metrics.json says of a search."""
    return {
        "density": result.best.density,
        "val_accuracy": result.best.val_accuracy,
        "rounds": len(result.rounds),
        "best_round": result.best.round,
        "accuracy_floor": result.floor,
        "seconds": round(result.seconds, 3),
        "mask_sha256": mask_sha256,
        "source_val_accuracy": result.source_val_accuracy,
        "head_only_val_accuracy": result.head_only_val_accuracy,
        "device": runtime.device.type,
        "precision": runtime.precision,
        "threads": runtime.threads,
        "computed_on": in_words(),
        "channels": channels,
        "warnings": doubts,
    }


def _observer(context: StageContext, bar: Any, log: Callable[[dict[str, Any]], None]) -> Callable[[Round], None]:
    """Shows every new round: progress bar, the run page, MLflow."""
    config = context.params.search
    best: Round | None = None

    def on_round(now: Round) -> None:
        nonlocal best
        if best is None or now.accepted or config.method != "drift":
            best = now
        bar.update(now.round + 1 - bar.n)
        bar.set_postfix(
            ce=f"{now.cross_entropy:.3f}",
            density=f"{now.density:.3f}",
            val=f"{now.val_accuracy:.3f}",
            best=f"{best.density:.3f}",
        )
        now_and_best = (
            f"density {now.density:.3f}, val accuracy {now.val_accuracy:.3f}, best density {best.density:.3f}"
        )
        context.progress((now.round + 1) / config.rounds, f"round {now.round + 1}, {now_and_best}")
        log({name: value for name, value in asdict(now).items() if name != "accepted"})

    return on_round


def _doubt(result: SearchResult, config: SearchConfig) -> None:
    if config.select_on == "test":
        _warn(
            "candidates were chosen on the test split, as published: the accuracy on test flatters the result; use"
            " search.select_on=val."
        )
    if not result.met_floor:
        _warn(
            f"no candidate reached a val accuracy of {result.floor:.3f}; kept the best compromise: val accuracy"
            f" {result.best.val_accuracy:.3f} at density {result.best.density:.3f}. Raise search.accuracy_tolerance,"
            f" search.target{', search.channels_target' if config.structure == 'hybrid' else ''} or search.max_rounds,"
            " or lower search.accuracy_floor."
        )
    if result.best.density > 0.999:
        _warn("the search removed almost nothing; lower search.target, or raise search.alpha or search.max_rounds.")


def _warn(text: str) -> None:
    warnings.warn(text, SuspectResultWarning, stacklevel=2)


if __name__ == "__main__":
    main(search, __doc__)
