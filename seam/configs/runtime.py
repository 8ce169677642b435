"""Where and how tensors are computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from seam.configs.check import STRICT, require


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """Where and how the tensors are computed."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: CUDA when there is one."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Forward and backward of training and search. `auto`: bf16 where the hardware multiplies it
    and the network is big enough to gain."""
    threads: int = 0
    """CPU threads for torch; 0: all cores this process may use."""
    searches_together: int = 0
    """Problems whose searches `seam run` carries along at once, at most; 0: on a GPU as many as
    fit, on a CPU 1."""

    def __post_init__(self) -> None:
        require(self.threads >= 0, f"threads must be >= 0 (0: all cores), got {self.threads}")
        require(
            self.searches_together >= 0,
            f"searches_together must be >= 0 (0: as many as fit), got {self.searches_together}",
        )
