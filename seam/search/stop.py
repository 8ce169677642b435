"""When a search has no round to come: rules over the rounds there were."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from seam.configs.search import SearchConfig
from seam.search.result import Round

Stop = Callable[[Sequence[Round]], bool]
"""The rounds so far -> whether there is none to come."""


def after(rounds: int) -> Stop:
    """All of `rounds` are done."""
    return lambda done: len(done) >= rounds


def without_progress(patience: int) -> Stop:
    """None of the last `patience` rounds found a better candidate or removed 1% more weights."""

    def stop(done: Sequence[Round]) -> bool:
        if len(done) <= patience:
            return False
        recent = done[-patience:]
        still_removing = recent[-1].density < 0.99 * done[-patience - 1].density
        return not still_removing and not any(r.accepted for r in recent)

    return stop


def once_removed(removal: float) -> Stop:
    """The last round has removed this share of the weights, or more."""
    return lambda done: bool(done) and 1 - done[-1].density >= removal


def any_of(*rules: Stop) -> Stop:
    """One of the rules says so."""
    return lambda done: any(rule(done) for rule in rules)


def stop_of(config: SearchConfig) -> Stop:
    """All rounds are done or, with `drift` and some patience, nothing improves."""
    if config.method != "drift" or not config.patience:
        return after(config.rounds)
    return any_of(after(config.rounds), without_progress(config.patience))
