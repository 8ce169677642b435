"""Inference engines: each loads a model and gives back a function of a batch. And the machine they run on.

No engine, torch included, is imported before it is asked for.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seam.hardware import describe

FloatArray = npt.NDArray[np.float32]
Runner = Callable[[FloatArray], FloatArray]
"""Inputs (batch, channels, height, width) to outputs (batch, classes)."""


@dataclass(frozen=True)
class Variant:
    """One of the models compared."""

    onnx: Path
    """`input` -> `logits`, any batch size."""
    module: Callable[..., Any] | None = None
    """The same model for the torch engine (an nn.Module in eval mode, on the CPU)."""


def load_torch(variant: Variant, batch_size: int, num_threads: int, about: dict[str, Any]) -> Runner:
    """The module itself; its threads are pinned by `pinned_torch`."""
    import torch

    assert variant.module is not None, "the torch engine needs the module"
    module = variant.module

    def run(x: FloatArray) -> FloatArray:
        with torch.inference_mode():
            outputs: FloatArray = module(torch.from_numpy(x)).numpy()
            return outputs

    return run


def _load_onnxruntime(variant: Variant, batch_size: int, num_threads: int, about: dict[str, Any]) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(variant.onnx), options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"input": x})[0]


def _load_openvino(variant: Variant, batch_size: int, num_threads: int, about: dict[str, Any]) -> Runner:
    import openvino

    core = openvino.Core()
    model = core.read_model(str(variant.onnx))
    _, channels, height, width = model.inputs[0].partial_shape
    model.reshape([batch_size, channels, height, width])
    settings = {"INFERENCE_NUM_THREADS": num_threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(model, "CPU", settings).create_infer_request()

    def run(x: FloatArray) -> FloatArray:
        outputs: FloatArray = request.infer({0: x}, share_inputs=True)[0]
        return outputs

    return run


def _load_deepsparse(variant: Variant, batch_size: int, num_threads: int, about: dict[str, Any]) -> Runner:
    import deepsparse

    engine = deepsparse.compile_model(str(variant.onnx), batch_size=batch_size, num_cores=num_threads)
    about["fraction_of_supported_ops"] = min(engine.fraction_of_supported_ops, about.get("fraction_of_supported_ops", 1.0))
    return lambda x: engine.run([x])[0]


LOADERS: dict[str, Callable[[Variant, int, int, dict[str, Any]], Runner]] = {
    "deepsparse": _load_deepsparse,
    "onnxruntime": _load_onnxruntime,
    "openvino": _load_openvino,
    "torch": load_torch,
}
"""Engine -> function of (variant, batch size, threads, facts to add to)."""


@contextmanager
def pinned_torch(engine: str, num_threads: int) -> Iterator[None]:
    """Pin torch to `num_threads` inside the block, when torch is the engine."""
    if engine != "torch":
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def version(engine: str) -> str | None:
    """Installed version of an engine, None when it is not installed."""
    try:
        return importlib.metadata.version(engine)
    except importlib.metadata.PackageNotFoundError:
        return None


def hardware() -> dict[str, Any]:
    """The machine, and how busy it is (1, 5, 15 minutes)."""
    return {
        **describe(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }
