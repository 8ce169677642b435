"""What a network costs in measured time, and the setting of an arm whose network just fits."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from torch import Tensor, nn

from seam.compaction import compact
from seam.files import read_json, write_json
from seam.inference.engines import ENGINES
from seam.inference.export import write_unchecked
from seam.inference.variants import Runner, Variant

if TYPE_CHECKING:
    from duel.task import Task

BATCH = 16
_REPEATS, _WARMUP = 40, 3
_LEAST, _SECONDS = 12, 1.5
"""Calls of each network at least, however long they take; and how long they may take together, otherwise."""

_Network = TypeVar("_Network")
_Found = TypeVar("_Found")


def smallest(model: nn.Module, example: Tensor) -> nn.Module:
    """The same function with everything taken out that has no effect, eval mode, on the CPU."""
    return compact(model.cpu().eval(), example.cpu()).module


class Clock:
    """CPU time of networks on ONNX Runtime, batch 16, one thread, as a share of one network's, taken in turn with it.

    CPU time of the calling thread: other processes on the machine do not count, but for what they
    do to caches and clock rates, and that is the same for both.
    """

    def __init__(self, original: nn.Module, example: Tensor, repeats: int = _REPEATS) -> None:
        self._example, self._repeats = example.cpu(), repeats
        self._x = np.random.default_rng(0).random((BATCH, *example.shape[1:]), dtype=np.float32)
        self._original = self._runner(original)
        self.seconds = 0.0
        """CPU seconds spent on measuring."""
        self.spared = 0.0
        """CPU seconds of work that an earlier training of the same arm has done."""

    def share(self, model: nn.Module) -> float:
        """Time of a call of the network, divided by that of the original; of each the tenth percentile.

        On a busy machine that moves less than the median does.
        """
        started = time.process_time()
        runs, times = [self._runner(model), self._original], ([], [])
        warm = [self._nanoseconds(run) for run in runs * _WARMUP]
        affordable = int(1e9 * _SECONDS / sum(warm[-len(runs) :]))
        for i in range(min(self._repeats, max(_LEAST, affordable))):
            for which in (0, 1) if i % 2 else (1, 0):
                times[which].append(self._nanoseconds(runs[which]))
        self.seconds += time.process_time() - started
        ours, theirs = (float(np.quantile(t, 0.1)) for t in times)
        return ours / theirs

    def _runner(self, model: nn.Module) -> Runner:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the TorchScript exporter is deprecated, and says so
                write_unchecked(smallest(model, self._example), self._example, path)
            return ENGINES["onnxruntime"].load(Variant(path), BATCH, 1, {})

    def _nanoseconds(self, run: Runner) -> int:
        started = time.thread_time_ns()
        run(self._x)
        return time.thread_time_ns() - started


def least_removed(
    make: Callable[[float], _Network],
    cost: Callable[[_Network], float],
    limit: float,
    low: float = 0.0,
    high: float = 1.0,
    steps: int = 7,
) -> tuple[float, _Network, float] | None:
    """The smallest removed share, by bisection, whose network costs at most `limit`.

    Args:
        make: removed share -> network; a higher share makes no dearer one, more or less.
        cost: of a network.
        limit: that it must not exceed.
        low: share that is known to be too little; not tried.
        high: the greatest share.
        steps: halvings of the interval.

    Returns:
        The share, its network and its cost; None where even `high` costs too much.
    """
    network = make(high)
    found = high, network, cost(network)
    if found[2] > limit:
        return None
    for _ in range(steps):
        middle = (low + high) / 2
        network = make(middle)
        spent = cost(network)
        if spent <= limit:
            high, found = middle, (middle, network, spent)
        else:
            low = middle
    return found


def first_within(
    task: Task, name: str, cost: Callable[[float], float], grid: Sequence[float], steps: int = 4
) -> tuple[float | None, float]:
    """The smallest value within the budget where cost does not fall steadily: the first of a grid, then bisected.

    Found once for a problem, seed and budget, as `remembered`.

    Args:
        task: at hand, with its budget.
        name: of what is found.
        cost: of a value.
        grid: ascending.
        steps: halvings between the first that fits and the one before it.

    Returns:
        The value and its cost; None and the least cost seen where none of the grid fits.
    """

    def find() -> list[float | None]:
        seen: list[float] = []
        for low, high in zip((0.0, *grid[:-1]), grid, strict=True):
            seen.append(cost(high))
            if seen[-1] > task.budget.share:
                continue
            found = least_removed(lambda value: value, cost, task.budget.share, low, high, steps)
            return [high, seen[-1]] if found is None else [found[0], found[2]]
        return [None, min(seen)]

    value, spent = remembered(task, name, find)
    assert spent is not None
    return value, spent


def remembered(task: Task, name: str, find: Callable[[], _Found]) -> _Found:
    """What `find` finds, once for a problem, seed and budget: all trainings of an arm are of one layout.

    The CPU seconds of the first time count in every training that uses it, as `task.clock.spared`.

    Args:
        task: at hand; without a memory it is found anew.
        name: of what is found.
        find: finds it: a JSON value, None where there is nothing within the budget.
    """
    if task.memory is None:
        return find()
    path = task.memory / f"{name}.json"
    if path.is_file():
        kept = read_json(path)
        task.clock.spared += kept["cpu_seconds"]
        return kept["found"]  # type: ignore[no-any-return]
    started, measuring = time.process_time(), task.clock.seconds
    found = find()
    seconds = time.process_time() - started - (task.clock.seconds - measuring)
    write_json(path, {"found": found, "cpu_seconds": round(seconds, 2)})
    return found
