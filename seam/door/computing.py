"""How a call of the door computes: the process as it was afterwards, and doubts told once, at its end."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils import deterministic

from seam.configs.runtime import RuntimeConfig
from seam.door.arguments import Device
from seam.errors import SuspectResultWarning
from seam.runtime import Runtime, start, threads_for


@contextmanager
def computing(device: Device, pixels: int, seed: int) -> Iterator[Runtime]:
    """Set the process up, and leave its threads and its random generators as they were found.

    With as many threads as it has, but no more than pay.
    """
    threads, alike = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            yield start(RuntimeConfig(device=device, threads=min(threads, threads_for(pixels))), pixels)
        finally:
            torch.set_num_threads(threads)
            torch.set_flush_denormal(False)
            torch.use_deterministic_algorithms(alike, warn_only=warned)
            deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


@contextmanager
def doubting() -> Iterator[list[str]]:
    """Collect the texts of doubts, each once; they are in the list, and told to the caller, as the block ends."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SuspectResultWarning)
        yield texts
    texts += dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, SuspectResultWarning))
    for text in texts:
        warnings.warn(text, SuspectResultWarning, stacklevel=4)
