"""`seam bench`: how long models take on the engines of this machine, side by side."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from flows.project import project_root
from seam.configs.inference import LatencyConfig
from seam.errors import ConfigError, ExportError
from seam.inference.latency import benchmark
from seam.inference.operators import operator_times
from seam.inference.timing import hardware
from seam.inference.variants import InputSpec, Variant, input_of
from tasks.project.alone import TIMES, WAITS, alone

AGAIN = "the first again"
"""The first model a second time: what the ratio of a model to itself comes to is what this
machine's noise does."""
_BUSY = 0.7
"""Load (one minute) per core above which times are doubted."""


def bench(models: Sequence[str], config: LatencyConfig, seed: int, profile: bool, console: Console) -> None:
    """Time models on every engine of `config`, and show medians, 95th percentiles and ratios to the first model.

    Args:
        models: .onnx files, or models:/NAME/VERSION or models:/NAME@ALIAS of the registry, whose
            ONNX file is taken.
        config: engines, batch sizes, threads, warm-up and repeats.
        seed: of the inputs.
        profile: also show where each model's time goes, at the last batch size.
        console: where to show it.

    Raises:
        ConfigError: a model is not there, or the models take different inputs.
        ExportError: one is no ONNX model with one input of any batch size.
    """
    with _found(models) as files:
        takes = _common_input(files)
        first = next(iter(files.values()))
        variants = {name: Variant(path) for name, path in files.items()} | {AGAIN: Variant(first)}
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("benchmark", total=len(config.engines))
            with alone([TIMES], partial(bar.update, task, description=WAITS)):
                before = hardware()
                results, _ = benchmark(
                    variants,
                    takes,
                    config,
                    seed,
                    lambda share, engine: bar.update(task, description=engine, completed=share * len(config.engines)),
                )
                operators = {
                    name: operator_times(path, takes, config.batch_sizes[-1], config.num_threads, config.repeats, seed)
                    for name, path in (files if profile else {}).items()
                }
    console.print(_table(results, config))
    for engine, found in results.items():
        if "unavailable" in found:
            console.print(f"{engine} is unavailable: {found['unavailable']}")
    if operators:
        console.print(_operator_table(operators, config.batch_sizes[-1]))
    cores, load = before["cores"], before["load_average"][0]
    taken = f"{config.num_threads} thread(s), {config.repeats} calls of each model in turn"
    console.print(f"{before['cpu']}, {cores} cores; {taken}. Ratios are to the first model, with 95% intervals.")
    if load > _BUSY * cores:
        console.print(
            f"The machine was busy (load {load:g} on {cores} cores): trust the ratios and their intervals, not the"
            " milliseconds."
        )


@contextmanager
def _found(models: Sequence[str]) -> Iterator[dict[str, Path]]:
    """Each model's ONNX file; those of the registry are fetched into a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for number, model in enumerate(dict.fromkeys(models)):
            if model.startswith("models:"):
                found[model] = _fetched(model, Path(folder) / str(number))
            elif Path(model).is_file():
                found[_short(model, models)] = Path(model)
            else:
                raise ConfigError(f"{model}: no such file; expected an .onnx file or models:/NAME@champion.")
        yield found


def _short(model: str, models: Sequence[str]) -> str:
    """A file by its name alone, if no other is called so."""
    name = Path(model).name
    return name if [Path(m).name for m in models].count(name) == 1 else model


def _fetched(model: str, folder: Path) -> Path:
    from tasks.inputs.checkpoint import registered_files

    folder.mkdir()
    name, where = registered_files(model, project_root(), folder)
    files = sorted(where.rglob("*.onnx"))
    if len(files) != 1:
        raise ConfigError(f"{name}: expected a model with one ONNX file, got {len(files)}.")
    return files[0]


def _common_input(files: Mapping[str, Path]) -> InputSpec:
    inputs = {name: input_of(path) for name, path in files.items()}
    if len(set(inputs.values())) > 1:
        listed = "; ".join(f"{name} takes {i.dtype} {list(i.shape)}" for name, i in inputs.items())
        raise ExportError(f"expected models with the same input, got {listed}.")
    return next(iter(inputs.values()))


def _table(results: Mapping[str, Any], config: LatencyConfig) -> Table:
    table = Table("engine", "batch", "model", "p50, ms", "p95, ms", "ratio to the first")
    for column in (1, 3, 4, 5):
        table.columns[column].justify = "right"
    for column in (0, 2, 5):
        table.columns[column].no_wrap = True
    for engine, variants in results.items():
        if "unavailable" in variants:
            continue
        for batch_size in config.batch_sizes:
            for name, batches in variants.items():
                table.add_row(engine, str(batch_size), name, *_cells(batches[f"batch{batch_size}"]))
        table.add_section()
    return table


def _operator_table(operators: Mapping[str, Mapping[str, float]], batch_size: int) -> Table:
    table = Table("operator", *operators, title=f"ONNX Runtime, batch {batch_size}: ms a call")
    kinds = {
        kind: max(times.get(kind, 0.0) for times in operators.values())
        for times in operators.values()
        for kind in times
    }
    for column in table.columns[1:]:
        column.justify = "right"
    for kind in sorted(kinds, key=lambda kind: -kinds[kind]):
        table.add_row(kind, *(f"{times[kind]:.3g}" if kind in times else "" for times in operators.values()))
    return table


def _cells(measured: Mapping[str, float]) -> tuple[str, str, str]:
    ratio = (
        f"{measured['ratio']:.3f} [{measured['ratio_low']:.3f}, {measured['ratio_high']:.3f}]"
        if "ratio" in measured
        else "1"
    )
    return f"{measured['latency_ms_p50']:.3g}", f"{measured['latency_ms_p95']:.3g}", ratio
