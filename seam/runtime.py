"""Device, precision and threads of one process."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils import deterministic

from seam.configs.runtime import RuntimeConfig
from seam.errors import ConfigError
from seam.hardware import cores

_WORTH_THREADS = 16 * 16
"""Pixels of an image (`benchmarks/contention.py`)."""


@dataclass(frozen=True)
class Runtime:
    """What training and search run on."""

    device: torch.device
    precision: str
    """"fp32" or "bf16" (autocast of forward and backward; weights, scores and optimizers stay
    float32)."""
    threads: int

    def autocast(self) -> AbstractContextManager[None]:
        """The precision of a forward pass."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16")


def start(config: RuntimeConfig, pixels: int) -> Runtime:
    """Set this process up for training on images of `pixels` pixels.

    Denormals are flushed to zero: once the loss is small, gradients underflow and a CPU that
    handles them exactly is several times slower. Results with the same threads and device are
    reproducible.

    Raises:
        ConfigError: CUDA is asked for and there is none.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("expected a CUDA device, got none on this machine", hint="device")
    threads = config.threads or threads_for(pixels)
    np.finfo(np.float32), np.finfo(np.float64)  # numpy measures these once, and warns if denormals are already flushed
    torch.set_flush_denormal(True)
    torch.set_num_threads(threads)
    on_cuda = config.device != "cpu" and torch.cuda.is_available()
    if on_cuda:
        torch.use_deterministic_algorithms(True, warn_only=True)
        # on by itself, and a kernel more for every tensor that is made
        deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    device = torch.device("cuda" if on_cuda else "cpu")
    precision = config.precision if config.precision != "auto" else _precision(device, pixels)
    return Runtime(device, precision, threads)


def threads_for(pixels: int) -> int:
    """CPU threads for images of so many pixels, by the work and the machine alone: with other threads, other results.

    Below `_WORTH_THREADS` an operator takes less time than threads take to meet: one is as fast, and
    waits for none that does not get its turn beside other work.
    """
    return 1 if 0 < pixels < _WORTH_THREADS else cores()


def _precision(device: torch.device, pixels: int) -> str:
    """bf16 where the hardware multiplies it natively and the images are big enough for it to pay."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if native and pixels >= 32 * 32 else "fp32"
