"""Real processes that do something at once, or die in the middle."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from typing import Any

Call = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function of a module and its arguments; both travel to a new process."""


def exit_statuses(calls: Sequence[Call], seconds: float = 120) -> list[int | None]:
    """Exit statuses of new processes, one a call, that begin together; None: not back in time.

    They are no forks of the tests' process, of which the threads would be missing in them.
    """
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(calls))
    processes = [context.Process(target=_begin, args=(barrier, *call)) for call in calls]
    for process in processes:
        process.start()
    for process in processes:
        process.join(seconds)
    statuses = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    return statuses


def _begin(barrier: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    barrier.wait(60)
    function(*arguments)
