"""Numbers of the latency benchmark."""

from __future__ import annotations

from typing import Annotated, Literal

from seam.configs.check import Ge, Lt, NotEmpty, config

EngineName = Literal[
    "deepsparse", "onnxruntime", "openvino", "onnxruntime_int8", "openvino_int8", "torch", "torch_compile"
]
"""Of an engine; its record is in `seam.inference.engines`."""


@config
class LatencyConfig:
    """The inference benchmark."""

    engines: Annotated[tuple[EngineName, ...], NotEmpty()] = ("deepsparse", "onnxruntime", "openvino", "torch")
    """Engines to time; one that is missing here is reported as unavailable. `torch_compile`
    compiles each model for each batch size, which takes half a minute and a C++ compiler.
    `onnxruntime_int8`, `openvino_int8`: every model with weights and activations rounded to 8 bits,
    calibrated on train."""
    int8_drop: Annotated[float, Ge(0), Lt(1)] = 0.005
    """Val accuracy (a fraction) that rounding to int8 may cost, or one image; a model that loses
    more is timed, but never named the fastest."""
    batch_sizes: Annotated[tuple[Annotated[int, Ge(1)], ...], NotEmpty()] = (1, 16)
    """Batch sizes to time. The paper's is 16."""
    num_threads: Annotated[int, Ge(1)] = 1
    """Threads every engine is pinned to."""
    frontier: bool = True
    """Whether to time all candidates of the search too, compacted, at the last of the batch sizes:
    what each would gain."""
    warmup: Annotated[int, Ge(0)] = 20
    """Untimed runs of each variant. *Same* (20)."""
    repeats: Annotated[int, Ge(10)] = 100
    """Timed runs of each variant, interleaved original / re-engineered. *Same* (100)."""
