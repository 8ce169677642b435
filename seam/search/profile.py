"""Measures what narrowing each unit of a network saves: networks really made smaller, timed in turn with the whole.

Attention heads are in no unit: their time counts as fixed.
"""

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
from seam.search.time_table import TimeTable

Watch = Callable[[float, str], None]
"""Called with the share done in [0, 1], and a short text."""
_WARMUP = 3
_FEWEST = 10
"""Repeats."""
_AT_ONCE = 12
"""Networks loaded beside the whole one."""
_WHOLE = "whole"


@dataclass(frozen=True)
class Narrowed:
    """Networks of any layout made from one, compacted as they would be deployed, as files in a folder."""

    network: nn.Module
    """Its eval mode counts; it is not changed."""
    example_input: Float[Tensor, "batch 3 h w"]
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


def time_units(
    narrowed: Narrowed,
    config: ProfileConfig,
    source_sha256: str = "",
    seed: int = 0,
    watch: Watch = lambda share, text: None,
) -> TimeTable:
    """Time a network with one unit narrowed, for each unit and each of its widths below all.

    Each is timed in turn with the whole one, and what it saves is from the median of their ratios,
    so that a slow phase of the machine disturbs both.

    Args:
        narrowed: the network, its units, and a folder for the files.
        config: engine, batch size, threads, repeats, and what it may take.
        source_sha256: of the network's weights, for the record.
        seed: of the inputs.
        watch: told of the progress.

    Raises:
        ExportError: the engine is not here, or cannot run the network.
    """
    started = time.perf_counter()
    whole = narrowed.variant(_WHOLE, {})
    prepared_s = time.perf_counter() - started
    full = [_ms(times_of({_WHOLE: whole}, narrowed.takes, config, _FEWEST, seed))]
    timed, repeats = _plan(narrowed.units, config, prepared_s, full[0] / 1e3)
    wanted = [(unit.name, width) for unit in narrowed.units for width in timed[unit.name]]
    ratios: dict[tuple[str, int], float] = {}
    for first in range(0, len(wanted), _AT_ONCE):
        watch(first / len(wanted), f"widths timed: {first} of {len(wanted)}")
        some = {str(i): at for i, at in enumerate(wanted[first : first + _AT_ONCE])}
        variants = {_WHOLE: whole} | {i: narrowed.variant(i, dict([at])) for i, at in some.items()}
        measured = times_of(variants, narrowed.takes, config, repeats, seed)
        full.append(_ms(measured))
        ratios |= {at: measured[i]["ratio"] for i, at in some.items()}
    whole_ms = float(np.median(full[1:] or full))
    return TimeTable(
        source_sha256=source_sha256,
        engine=config.engine,
        version=version(config.engine),
        batch_size=config.batch_size,
        num_threads=config.num_threads,
        repeats=repeats,
        machine=describe(),
        latency_ms_p50=whole_ms,
        saved_ms={
            unit.name: _filled(unit, {w: whole_ms * (1 - ratios[unit.name, w]) for w in timed[unit.name]})
            for unit in narrowed.units
        },
        interpolated={u.name: left for u in narrowed.units if (left := _left_out(u, timed[u.name]))},
    )


def _plan(
    units: Sequence[Unit], config: ProfileConfig, prepared_s: float, call_s: float
) -> tuple[dict[str, tuple[int, ...]], int]:
    """Which widths of each unit to time, and how often, to be done in about `config.seconds`.

    Args:
        units: of the network.
        config: seconds and repeats wanted.
        prepared_s: what making one network takes.
        call_s: what one call of the whole one takes.
    """
    timed = {unit.name: unit.widths[:-1] for unit in units}
    while True:
        number = sum(map(len, timed.values()))
        left = config.seconds - number * prepared_s
        repeats = int(left / max(call_s * number * (1 + 1 / _AT_ONCE), 1e-9)) - _WARMUP
        thinned = {
            name: (*(w for w in widths if not w), *[w for w in widths if w][::2]) for name, widths in timed.items()
        }
        if repeats >= _FEWEST or thinned == timed:
            return timed, min(max(repeats, _FEWEST), config.repeats)
        timed = thinned


def _filled(unit: Unit, saved: Mapping[int, float]) -> dict[int, float]:
    """Of every width below all; those not timed on the line between their neighbours, all saves nothing."""
    at = [*saved, unit.whole]
    return {w: saved.get(w, float(np.interp(w, at, [*saved.values(), 0.0]))) for w in unit.widths[:-1]}


def _left_out(unit: Unit, timed: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(w for w in unit.widths[:-1] if w not in timed)


def _ms(measured: Mapping[str, Mapping[str, float | int]]) -> float:
    """Of the whole network."""
    return float(measured[_WHOLE]["latency_ms_p50"])


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
