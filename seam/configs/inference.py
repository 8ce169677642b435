"""Numbers of the latency benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from seam.configs.check import STRICT, require

Engine = Literal["deepsparse", "onnxruntime", "openvino", "onnxruntime_int8", "openvino_int8", "torch", "torch_compile"]


@dataclass(frozen=True, kw_only=True)
class LatencyConfig:
    """The inference benchmark."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    engines: tuple[Engine, ...] = ("deepsparse", "onnxruntime", "openvino", "torch")
    """Engines to time; one that is missing here is reported as unavailable. `torch_compile`
    compiles each model for each batch size, which takes half a minute and a C++ compiler.
    `onnxruntime_int8`, `openvino_int8`: every model with weights and activations rounded to 8 bits,
    calibrated on train."""
    int8_drop: float = 0.005
    """Val accuracy (a fraction) that rounding to int8 may cost, or one image; a model that loses
    more is timed, but never named the fastest."""
    batch_sizes: tuple[int, ...] = (1, 16)
    """Batch sizes to time. The paper's is 16."""
    num_threads: int = 1
    """Threads every engine is pinned to."""
    frontier: bool = True
    """Whether to time all candidates of the search too, compacted, at the last of the batch sizes:
    what each would gain."""
    warmup: int = 20
    """Untimed runs of each variant. *Same* (20)."""
    repeats: int = 100
    """Timed runs of each variant, interleaved original / re-engineered. *Same* (100)."""

    def __post_init__(self) -> None:
        require(len(self.engines) >= 1, "engines must name at least one engine, got none")
        require(0 <= self.int8_drop < 1, f"int8_drop must be in [0, 1), got {self.int8_drop}")
        require(
            all(b >= 1 for b in self.batch_sizes) and len(self.batch_sizes) >= 1,
            f"batch_sizes must be >= 1, got {self.batch_sizes}",
        )
        require(self.num_threads >= 1, f"num_threads must be >= 1, got {self.num_threads}")
        require(self.warmup >= 0, f"warmup must be >= 0, got {self.warmup}")
        require(self.repeats >= 10, f"repeats must be >= 10, got {self.repeats}")
