"""Times a network narrowed in many ways: networks really made smaller, timed in turn with the whole."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from seam.compaction import ENGINE_BLOCK, compact
from seam.configs.inference import LatencyConfig, ProfileConfig
from seam.errors import ExportError
from seam.hardware import describe
from seam.inference.engines import ENGINES, version
from seam.inference.export import write_unchecked
from seam.inference.isolated import measure_isolated
from seam.inference.measure import measure
from seam.inference.variants import InputSpec, Variant
from seam.masks.channels import ScoredChannels
from seam.masks.groups import ChannelGroups
from seam.masks.masks import apply_masks
from seam.masks.scores import masks_of
from seam.masks.widths import Layout, Unit, best_groups, whole_layout
from seam.search.time_table import TimedLayout, TimeTable

Watch = Callable[[float, str], None]
"""Called with the share done in [0, 1], and a short text."""
_WARMUP = 3
_FEWEST = 10
"""Repeats."""
_FEWEST_LAYOUTS = 16
_AT_ONCE = 12
"""Networks loaded beside the whole one."""
_KEPT = 0.5
"""Of the time of the whole network, what one of a random layout takes, about."""
_WHOLE = "whole"


@dataclass(frozen=True)
class Narrowed:
    """Networks of any layout made from one, compacted as they would be deployed, as files in a folder."""

    network: nn.Module
    """Its eval mode counts; it is not changed."""
    example_input: Float[Tensor, "batch channels h w"]
    """Only the shape of its images is used."""
    groups: ChannelGroups
    units: tuple[Unit, ...]
    folder: Path

    @property
    def takes(self) -> InputSpec:
        """Their input."""
        return InputSpec(tuple(self.example_input.shape[1:]))

    def variant(self, name: str, layout: Layout) -> Variant:
        """The network of a layout, units that it does not name whole; of each unit the first groups.

        Raises:
            ExportError: it has an operator that ONNX has not.
        """
        masked = copy.deepcopy(self.network).cpu().eval()
        scored = ScoredChannels(masked, self.groups)
        in_order = -torch.arange(self.groups.number, dtype=torch.float32)
        scored.keep_groups(best_groups(self.units, {**whole_layout(self.units), **layout}, in_order))
        apply_masks(masked, masks_of(scored))
        smaller, path = compact(masked, self.example_input.cpu(), ENGINE_BLOCK).module, self.folder / f"{name}.onnx"
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter is deprecated
            try:
                write_unchecked(smaller, self.example_input[:1].cpu(), path)
            except Exception as e:  # the exporter raises many kinds, none its own
                raise ExportError(
                    f"expected a network that exports to ONNX, got {type(e).__name__}: {_one_line(e)}", hint="cost"
                ) from e
        return Variant(path, smaller)


def times_of(
    variants: Mapping[str, Variant], takes: InputSpec, config: ProfileConfig, repeats: int, seed: int
) -> dict[str, dict[str, float | int]]:
    """Name -> latency_ms_p50 and more; for all but the first, `ratio` to it.

    Raises:
        ExportError: the engine is not here, or cannot run a network.
    """
    conditions = LatencyConfig(
        engines=(config.engine,),
        batch_sizes=(config.batch_size,),
        num_threads=config.num_threads,
        warmup=_WARMUP,
        repeats=repeats,
    )
    run = measure_isolated if ENGINES[config.engine].isolated else measure
    try:
        measured = run(config.engine, variants, takes, conditions, seed, "cpu" if config.num_threads == 1 else "wall")
    except Exception as e:  # engines raise anything
        raise ExportError(
            f"{config.engine}: expected an engine that runs the network, got {type(e).__name__}: {_one_line(e)}",
            hint="cost",
        ) from e
    return {name: by_batch[f"batch{config.batch_size}"] for name, by_batch in measured.latencies.items()}


def time_layouts(
    narrowed: Narrowed,
    config: ProfileConfig,
    source_sha256: str = "",
    seed: int = 0,
    watch: Watch = lambda share, text: None,
) -> TimeTable:
    """Time many layouts of a network against the whole one.

    Random ones with many units narrowed at once, each in turn with the whole one: each tells
    something of every unit, where one unit alone is lost in what two loadings of a network differ by.

    Args:
        narrowed: the network, its units, and a folder for the files.
        config: engine, batch size, threads, repeats, and what it may take.
        source_sha256: of the network's weights, for the record.
        seed: of the layouts and the inputs.
        watch: told of the progress.

    Raises:
        ExportError: the engine is not here, or cannot run the network.
    """
    narrowed.variant(_WHOLE, {})  # the first one loads libraries
    started = time.perf_counter()
    whole = narrowed.variant(_WHOLE, {})
    prepared_s = time.perf_counter() - started
    call_s = _ms(times_of({_WHOLE: whole}, narrowed.takes, config, _FEWEST, seed)) / 1e3
    wanted = _layouts(narrowed.units, _number(narrowed.units, config, prepared_s, call_s), seed)
    timed: list[TimedLayout] = []
    full = []
    for run, first in enumerate(range(0, len(wanted), _AT_ONCE)):
        watch(first / len(wanted), f"networks timed: {first} of {len(wanted)}")
        some = {str(i): layout for i, layout in enumerate(wanted[first : first + _AT_ONCE])}
        variants = {_WHOLE: whole} | {name: narrowed.variant(name, layout) for name, layout in some.items()}
        measured = times_of(variants, narrowed.takes, config, config.repeats, seed)
        full.append(_ms(measured))
        timed += [TimedLayout(layout, measured[name]["ratio"], run) for name, layout in some.items()]
    watch(1.0, "done")
    return TimeTable(
        source_sha256=source_sha256,
        engine=config.engine,
        version=version(config.engine),
        batch_size=config.batch_size,
        num_threads=config.num_threads,
        repeats=config.repeats,
        machine=describe(),
        latency_ms_p50=float(np.median(full)),
        timed=tuple(timed),
    )


def _number(units: Sequence[Unit], config: ProfileConfig, prepared_s: float, call_s: float) -> int:
    """How many layouts to time, to be done in about `config.seconds`.

    Args:
        units: of the network; three layouts a width are enough.
        config: seconds and repeats wanted.
        prepared_s: what making the whole network takes.
        call_s: what one call of it takes.
    """
    each = prepared_s + call_s * (config.repeats + _WARMUP) * (_KEPT + 1 / _AT_ONCE)
    wanted = 3 * sum(len(unit.widths) - 1 for unit in units)
    return min(max(int(config.seconds / each), _FEWEST_LAYOUTS), wanted)


def _layouts(units: Sequence[Unit], number: int, seed: int) -> list[dict[str, int]]:
    """The narrowest, and random ones: from narrow to wide all over, every second time each unit for itself."""
    draw = np.random.default_rng(seed)
    layouts = [{unit.name: unit.widths[0] for unit in units}]
    for i in range(1, number):
        most = [len(unit.widths) - 1 for unit in units]
        at = draw.binomial(most, i / number) if i % 2 else draw.integers(0, most, endpoint=True)
        layouts.append({unit.name: unit.widths[n] for unit, n in zip(units, at, strict=True)})
    return layouts[:number]


def _ms(measured: Mapping[str, Mapping[str, float | int]]) -> float:
    """Of the whole network."""
    return float(measured[_WHOLE]["latency_ms_p50"])


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
