"""Where and how tensors are computed."""

from __future__ import annotations

from typing import Annotated, Literal

from seam.configs.check import Ge, config


@config
class RuntimeConfig:
    """Where and how the tensors are computed."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: CUDA when there is one."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Forward and backward of training and search. `auto`: bf16 where the hardware multiplies it
    and the network is big enough to gain."""
    threads: Annotated[int, Ge(0)] = 0
    """CPU threads for torch; 0: one for images of less than 16 x 16 pixels, otherwise all cores that
    this process may use, and the time of which its control group has. With other threads, other results."""
    searches_together: Annotated[int, Ge(0)] = 0
    """Problems whose searches `seam run` carries along at once, at most; 0: on a GPU as many as
    fit, on a CPU 1."""
