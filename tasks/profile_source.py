"""What the widths of the source's layers cost on an engine of this machine, where the search spends milliseconds."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from seam.masks.groups import channel_groups
from seam.masks.widths import units_of
from seam.search.profile import Narrowed, time_layouts
from seam.search.time_table import TimeTable, save_times
from tasks.inputs.problem import problem_source
from tasks.project.stage import StageContext, StageResult, main


def profile_source(context: StageContext) -> StageResult:
    """Time the source with its units of channels narrowed in many ways, publish times.json.

    Nothing is timed unless `search.cost` is `milliseconds`.

    Raises:
        NoChannelsError: the source has no channels that can be removed.
        ExportError: the engine is not here, or cannot run the source.
    """
    table = _timed(context) if context.params.search.cost == "milliseconds" else None
    with context.publish() as out:
        save_times(table, out / "times.json")
    if table is None:
        return context.result({"measured": False})
    number = len(table.timed)
    return context.result({"engine": table.engine, "latency_ms_p50": table.latency_ms_p50, "layouts": number})


def _timed(context: StageContext) -> TimeTable:
    source, config = problem_source(context), context.params.profile_source
    example = source.example()
    groups = channel_groups(source.network, torch.cat([example, example]))
    units = units_of(groups, context.params.search.channel_block)
    with (
        tempfile.TemporaryDirectory() as folder,
        tqdm(total=100, desc="time widths", unit="%", disable=None) as bar,
    ):
        narrowed = Narrowed(source.network, example, groups, units, Path(folder))
        return time_layouts(narrowed, config, source.info.sha256, context.params.seed, _observer(context, bar))


def _observer(context: StageContext, bar: Any) -> Callable[[float, str], None]:
    """Shows how far it is: progress bar, the run page."""

    def watch(share: float, text: str) -> None:
        bar.update(round(100 * share) - bar.n)
        context.progress(share, text)

    return watch


if __name__ == "__main__":
    main(profile_source, __doc__)
