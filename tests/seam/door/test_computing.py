"""A call of the door leaves the process as it found it."""

from __future__ import annotations

import torch
from torch.utils import deterministic

from seam.door.computing import computing


def test_settings_of_the_process_are_as_they_were_afterwards() -> None:
    threads, drawn = torch.get_num_threads(), torch.get_rng_state()
    with computing("cpu", 64, 0):
        torch.set_num_threads(threads + 1)
        torch.use_deterministic_algorithms(True, warn_only=True)
        deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.rand(1)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()
    assert deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    assert torch.equal(torch.get_rng_state(), drawn)


def test_a_caller_who_wants_errors_of_what_is_not_deterministic_still_gets_them() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        with computing("cpu", 64, 0):
            torch.use_deterministic_algorithms(True, warn_only=True)
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
