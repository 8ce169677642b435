"""Inference engines, a record each: how a model is loaded into it, what it takes, and what it needs.

No engine, torch included, is imported before a model is loaded into it.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from seam.configs.inference import EngineName
from seam.inference.signal_stack import signal_stack_kept
from seam.inference.variants import Batch, FloatArray, Runner, Variant


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One way to run a model."""

    label: str
    """As people call it."""
    packages: tuple[str, ...]
    """It needs, as an index of packages calls them; the first is the engine's own."""
    takes: Literal["onnx", "int8", "module"]
    """What is loaded: the variant's ONNX file, its ONNX file in 8 bits, which rounds (near the
    original's outputs, not equal to them), or the module itself."""
    load: Callable[[Variant, int, int, dict[str, Any]], Runner]
    """Of (variant, batch size, threads, facts to add to)."""
    zeros: Literal["skipped", "computed"] = "computed"
    """What it does with weights that are zero."""
    isolated: bool = False
    """Whether it runs in a process of its own: a CPU it does not know can end the process instead
    of raising."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of that process."""
    cpu_flags: tuple[str, ...] = ()
    """As /proc/cpuinfo calls them, the best last; the CPU has to have one of these."""
    needs: str = ""
    """Beside its packages, in words."""


def _load_torch(variant: Variant, batch_size: int, num_threads: int, about: dict[str, Any]) -> Runner:
    """The module itself; its threads are pinned by `pinned`."""
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
    with signal_stack_kept():
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


ENGINES: dict[EngineName, Engine] = {
    "deepsparse": Engine(
        label="DeepSparse",
        packages=("deepsparse",),
        takes="onnx",
        load=_load_deepsparse,
        zeros="skipped",
        isolated=True,
        environment={"NM_DISABLE_ANALYTICS": "1"},
        cpu_flags=("avx2", "avx512f"),
        needs="Linux on x86-64 with AVX2, Python 3.11; not maintained since June 2025",
    ),
    "onnxruntime": Engine(label="ONNX Runtime", packages=("onnxruntime",), takes="onnx", load=_load_onnxruntime),
    "openvino": Engine(label="OpenVINO", packages=("openvino",), takes="onnx", load=_load_openvino),
    "onnxruntime_int8": Engine(
        label="ONNX Runtime int8", packages=("onnxruntime", "nncf"), takes="int8", load=_load_onnxruntime_int8
    ),
    "openvino_int8": Engine(
        label="OpenVINO int8", packages=("openvino", "nncf"), takes="int8", load=_load_openvino_int8
    ),
    "torch": Engine(label="torch", packages=("torch",), takes="module", load=_load_torch),
    "torch_compile": Engine(
        label="torch.compile",
        packages=("torch",),
        takes="module",
        load=_load_torch_compile,
        needs="a C++ compiler, and half a minute a model and batch size",
    ),
}
"""In the order of `EngineName`, in which documentation lists them."""


def engines_that_take(what: Literal["onnx", "int8", "module"]) -> tuple[EngineName, ...]:
    """Names of the engines that are loaded with this."""
    return tuple(name for name, engine in ENGINES.items() if engine.takes == what)


@contextmanager
def pinned(engine: EngineName, num_threads: int) -> Iterator[None]:
    """Pin torch to `num_threads` inside the block, where torch is the engine; the others are pinned when they load."""
    if ENGINES[engine].takes != "module":
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def version(engine: EngineName) -> str | None:
    """Installed version of an engine, None when it is not installed."""
    try:
        return importlib.metadata.version(ENGINES[engine].packages[0])
    except importlib.metadata.PackageNotFoundError:
        return None
