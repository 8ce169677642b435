"""Pieces of work timed in turn, so that whatever disturbs the machine disturbs all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass
class InTurn:
    """What some pieces of work took, one value a repeat."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    """Of wall time, what was left to a GPU included."""
    peak_mib: dict[str, int] = field(default_factory=dict)
    """At most that torch held on a GPU; empty without one."""

    def ratio(self, name: str, floor: str) -> dict[str, Any]:
        """How many times as long as `floor` one took, repeat by repeat, and the median."""
        ratios = [ours / plain for ours, plain in zip(self.seconds[name], self.seconds[floor], strict=True)]
        return {"ratio": round(statistics.median(ratios), 3), "ratios": [round(r, 3) for r in ratios]}

    def median(self, name: str) -> float:
        """Seconds."""
        return statistics.median(self.seconds[name])


def in_turn(works: Mapping[str, Callable[[], object]], repeats: int, warmup: int = 1) -> InTurn:
    """Run each piece of work in turn, `repeats` times after `warmup` untimed ones."""
    found = InTurn({name: [] for name in works})
    on_gpu = torch.cuda.is_available()
    for repeat in range(-warmup, repeats):
        for name, work in works.items():
            if on_gpu:
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
            started = time.perf_counter()
            work()
            if on_gpu:
                torch.cuda.synchronize()
                found.peak_mib[name] = round(torch.cuda.max_memory_allocated() / 2**20)
            if repeat >= 0:
                found.seconds[name].append(time.perf_counter() - started)
    return found
