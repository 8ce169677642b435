"""Numbers of the latency benchmark."""

from __future__ import annotations

from typing import Annotated, Literal

from seam.configs.check import Ge, Gt, Lt, NotEmpty, config

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
    compared_images: Annotated[int, Ge(1)] = 128
    """Images of a kind (test, noise, extreme, attacked) on which the outputs of every engine are compared
    with torch's; of attacked ones a quarter."""
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


ProfileEngine = Literal["deepsparse", "onnxruntime", "openvino", "torch"]
"""Of an engine that a time table can be made for: it needs no images, and loads a model in no time."""


@config
class ProfileConfig:
    """What the widths of the source's layers cost on an engine; measured where `search.cost` is `milliseconds`."""

    engine: ProfileEngine = "onnxruntime"
    """Engine whose milliseconds count."""
    batch_size: Annotated[int, Ge(1)] = 16
    """Images a call."""
    num_threads: Annotated[int, Ge(1)] = 1
    """Threads the engine is pinned to."""
    repeats: Annotated[int, Ge(10)] = 16
    """Timed runs of each narrowed network, interleaved with the whole one."""
    seconds: Annotated[float, Gt(0)] = 60.0
    """What measuring may take, about: so many networks are made and timed, three for each width of
    each layer at most, 16 at least."""
