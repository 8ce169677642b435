"""One search uses one GPU, whatever else runs on the machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch

from seam.configs.runtime import RuntimeConfig
from tasks.project.alone import alone
from tasks.project.stage import Progress


@contextmanager
def one_gpu(config: RuntimeConfig, progress: Progress) -> Iterator[None]:
    """Have the first GPU that no other search uses be torch's current one in the block; nothing to do on a CPU."""
    if config.device == "cpu" or not torch.cuda.is_available():
        yield
        return
    names = [f"gpu-{torch.cuda.get_device_properties(i).uuid}" for i in range(torch.cuda.device_count())]
    waits = partial(progress, 0.0, "waits: every GPU of this machine has a search")
    with alone(names, waits) as number, torch.cuda.device(number):
        yield
