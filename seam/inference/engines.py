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
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from seam.errors import ExportError
from seam.hardware import describe

FloatArray = npt.NDArray[np.float32]
Batch = npt.NDArray[np.float32] | npt.NDArray[np.uint8]
Runner = Callable[[Batch], FloatArray]
"""Inputs (batch, ...) to outputs (batch, classes)."""


@dataclass(frozen=True)
class InputSpec:
    """One input of a model, without the batch."""

    shape: tuple[int, ...]
    """(channels, height, width), as a rule."""
    dtype: Literal["float32", "uint8"] = "float32"

    def example(self, batch_size: int, seed: int) -> Batch:
        """Uniform inputs, C-contiguous: [0, 1) in float32, 0 to 255 in uint8."""
        rng = np.random.default_rng(seed)
        if self.dtype == "uint8":
            return rng.integers(0, 256, (batch_size, *self.shape), dtype=np.uint8)
        return rng.random((batch_size, *self.shape), dtype=np.float32)


def input_of(onnx: Path) -> InputSpec:
    """What a model in an ONNX file takes.

    Raises:
        ExportError: it is no such file, or takes something else than one batch of float32 or uint8
            values of a fixed size.
    """
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
    except Exception as e:
        raise ExportError(f"{onnx}: expected an ONNX model, got {' '.join(str(e).split())[:200]}") from e
    inputs = session.get_inputs()
    dtype = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}.get(inputs[0].type) if len(inputs) == 1 else None
    described = ", ".join(f"{i.name}: {i.type} {i.shape}" for i in inputs)
    if dtype is None or not inputs[0].shape or not all(isinstance(side, int) for side in inputs[0].shape[1:]):
        raise ExportError(
            f"{onnx}: expected one input of float32 or uint8 values, fixed in size but for the batch, got {described}."
        )
    if isinstance(inputs[0].shape[0], int):
        raise ExportError(
            f"{onnx}: expected an input of any batch size, got {described}; export it with a dynamic first dimension."
        )
    return InputSpec(tuple(inputs[0].shape[1:]), "uint8" if dtype == "uint8" else "float32")


def rounds(onnx: Path) -> bool:
    """Whether a model computes in 8 bits, where engines round differently."""
    import onnx as library

    return any(
        node.op_type == "QuantizeLinear" for node in library.load(str(onnx), load_external_data=False).graph.node
    )


@dataclass(frozen=True)
class Variant:
    """One of the models compared."""

    onnx: Path
    """One input, the first dimension of which is the batch and may have any size; its first output
    is what is compared."""
    module: Callable[..., Any] | None = None
    """The same model for the torch engine (an nn.Module in eval mode, on the CPU)."""
    int8: Path | None = None
    """The same model for engines in `QUANTIZED`, from `seam.inference.int8.quantize`."""


def load_torch(variant: Variant, batch_size: int, num_threads: int, about: dict[str, Any]) -> Runner:
    """The module itself; its threads are pinned by `pinned_torch`."""
    assert variant.module is not None, "the torch engine needs the module"
    return _runner(variant.module)


def _load_torch_compile(variant: Variant, batch_size: int, num_threads: int, about: dict[str, Any]) -> Runner:
    """The module compiled for one batch size at the first call, its weights frozen; needs a C++ compiler."""
    import torch

    assert variant.module is not None, "the torch engine needs the module"
    return _runner(torch.compile(variant.module, dynamic=False, options={"freezing": True}))


def _runner(module: Callable[..., Any]) -> Runner:
    import torch

    def run(x: Batch) -> FloatArray:
        with torch.inference_mode():
            outputs: FloatArray = module(torch.from_numpy(x)).numpy()
            return outputs

    return run


def _load_onnxruntime(variant: Variant, batch_size: int, num_threads: int, about: dict[str, Any]) -> Runner:
    return _onnxruntime(variant.onnx, num_threads)


def _load_onnxruntime_int8(variant: Variant, batch_size: int, num_threads: int, about: dict[str, Any]) -> Runner:
    return _onnxruntime(_int8(variant), num_threads)


def _onnxruntime(path: Path, num_threads: int) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]


def _load_openvino(variant: Variant, batch_size: int, num_threads: int, about: dict[str, Any]) -> Runner:
    return _openvino(variant.onnx, batch_size, num_threads)


def _load_openvino_int8(variant: Variant, batch_size: int, num_threads: int, about: dict[str, Any]) -> Runner:
    return _openvino(_int8(variant), batch_size, num_threads)


def _int8(variant: Variant) -> Path:
    assert variant.int8 is not None, "int8 needs a model from seam.inference.int8.quantize"
    return variant.int8


def _openvino(path: Path, batch_size: int, num_threads: int) -> Runner:
    import openvino

    core = openvino.Core()
    model = core.read_model(str(path))
    _, *image = model.inputs[0].partial_shape
    model.reshape([batch_size, *image])
    settings = {"INFERENCE_NUM_THREADS": num_threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(model, "CPU", settings).create_infer_request()

    def run(x: Batch) -> FloatArray:
        outputs: FloatArray = request.infer({0: x}, share_inputs=True)[0]
        return outputs

    return run


def _load_deepsparse(variant: Variant, batch_size: int, num_threads: int, about: dict[str, Any]) -> Runner:
    import deepsparse

    engine = deepsparse.compile_model(str(variant.onnx), batch_size=batch_size, num_cores=num_threads)
    about["fraction_of_supported_ops"] = min(
        engine.fraction_of_supported_ops, about.get("fraction_of_supported_ops", 1.0)
    )
    return lambda x: engine.run([x])[0]


TORCH = ("torch", "torch_compile")
"""Engines that need the module."""
QUANTIZED = ("onnxruntime_int8", "openvino_int8")
"""Engines that run another model, which rounds: near the original's outputs, not equal to them."""
LOADERS: dict[str, Callable[[Variant, int, int, dict[str, Any]], Runner]] = {
    "deepsparse": _load_deepsparse,
    "onnxruntime": _load_onnxruntime,
    "onnxruntime_int8": _load_onnxruntime_int8,
    "openvino": _load_openvino,
    "openvino_int8": _load_openvino_int8,
    "torch": load_torch,
    "torch_compile": _load_torch_compile,
}
"""Engine -> function of (variant, batch size, threads, facts to add to)."""


@contextmanager
def pinned_torch(engine: str, num_threads: int) -> Iterator[None]:
    """Pin torch to `num_threads` inside the block, when torch is the engine."""
    if engine not in TORCH:
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
        return importlib.metadata.version("torch" if engine in TORCH else engine.removesuffix("_int8"))
    except importlib.metadata.PackageNotFoundError:
        return None


def hardware() -> dict[str, Any]:
    """The machine, and how busy it is (1, 5, 15 minutes)."""
    return {
        **describe(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }
