"""The models that are timed: where they lie, what they take, and whether they compute in 8 bits.

No library of an engine, torch included, is imported before it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from seam.errors import DamagedFileError, ExportError, words
from seam.files import beside

FloatArray = npt.NDArray[np.float32]
Batch = npt.NDArray[np.float32] | npt.NDArray[np.uint8]
_MOST_BYTES = (1 << 31) - 1
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
        ExportError: it is no such file, keeps weights in files outside of its folder, or takes
            something else than one batch of float32 or uint8 values of a fixed size.
    """
    import onnxruntime

    _check_files(onnx)
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


def _check_files(onnx: Path) -> None:
    """Raise an ExportError where the weights of a model are in files that lead out of its folder.

    Nothing of the model has been run, and no weights have been read.
    """
    import onnx as library
    from onnx.external_data_helper import uses_external_data

    try:
        size = onnx.stat().st_size
        if size > _MOST_BYTES:
            raise ExportError(
                f"{onnx}: expected an ONNX model of at most 2 GiB, as its format has it, got {size:,} bytes."
            )
        model = library.load(str(onnx), load_external_data=False)
        for tensor in _tensors(model.graph):
            if uses_external_data(tensor):
                beside(onnx, next((e.value for e in tensor.external_data if e.key == "location"), ""))
    except ExportError:
        raise
    except DamagedFileError as e:
        raise ExportError(str(e)) from e
    except Exception as e:  # protobuf's own kinds
        raise ExportError(f"{onnx}: expected an ONNX model, got {words(e)}") from e


def _tensors(graph: Any) -> Iterator[Any]:
    """All tensors of a graph: weights, and constants in its nodes and in graphs inside them."""
    yield from graph.initializer
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            yield from _tensors(inner)


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
    """The same model for engines that take int8, from `seam.inference.int8.quantize`."""
