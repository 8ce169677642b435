"""What a network takes on this machine, and what it would take narrower."""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seam.checkpoint import fingerprint
from seam.compaction import ENGINE_BLOCK, compact
from seam.configs.inference import ProfileConfig
from seam.door.progress import Shown
from seam.errors import SearchError
from seam.hardware import describe
from seam.inference.engines import version
from seam.inference.export import write_unchecked
from seam.inference.variants import InputSpec, Variant
from seam.masks.groups import channel_groups
from seam.masks.widths import units_of
from seam.search.profile import Narrowed, time_layouts, times_of
from seam.search.time_table import TimeTable, load_times, save_times

logger = logging.getLogger(__name__)


def time_table(
    network: nn.Module,
    example: Tensor,
    channel_block: int,
    config: ProfileConfig,
    seed: int,
    path: Path | None,
    shown: Shown,
) -> TimeTable:
    """The times of a network narrowed in many ways, from the file where they were measured before.

    Args:
        network: eval mode, on the CPU.
        example: two or more images as it takes them.
        channel_block: so many channels stay or go together.
        config: engine, batch size, threads, and what measuring may take.
        seed: of the layouts.
        path: where they are kept; None: nowhere.
        shown: progress.

    Raises:
        NoChannelsError: the network has no channels that can be removed.
        ExportError: the engine cannot run it.
    """
    digest = fingerprint(network.state_dict())
    if path is not None and path.is_file():
        try:
            return load_times(path, digest)
        except SearchError as e:
            logger.info("%s: measured anew", e.what)
    groups = channel_groups(network, example)
    with tempfile.TemporaryDirectory() as scratch, shown.bar("time widths", 100, "%") as on_step:
        narrowed = Narrowed(network, example, groups, units_of(groups, channel_block), Path(scratch))
        table = time_layouts(narrowed, config, digest, seed, lambda share, text: on_step(round(100 * share), text))
    if path is not None:
        save_times(table, path)
    return table


def measured(
    source: nn.Module, result: nn.Module, example: Tensor, config: ProfileConfig, seed: int
) -> tuple[tuple[float, float], dict[str, Any]]:
    """Milliseconds of a call of both, compacted, timed in turn; and the conditions."""
    networks = {"source": compact(source, example, ENGINE_BLOCK).module, "result": result}
    with tempfile.TemporaryDirectory() as scratch, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter is deprecated
        variants = {}
        for name, network in networks.items():
            write_unchecked(network, example[:1], path := Path(scratch) / f"{name}.onnx")
            variants[name] = Variant(path, network)
        times = times_of(variants, InputSpec(tuple(example.shape[1:])), config, config.repeats, seed)
    conditions = {
        "engine": config.engine,
        "version": version(config.engine),
        "batch_size": config.batch_size,
        "num_threads": config.num_threads,
        "machine": describe(),
    }
    return (float(times["source"]["latency_ms_p50"]), float(times["result"]["latency_ms_p50"])), conditions
