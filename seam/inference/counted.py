"""What an ONNX file has: the weights that its operators multiply by, and their multiply-adds, counted on the file.

Nothing is taken from the network that was exported: stored values and the shapes of one run count.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

logger = logging.getLogger(__name__)
_PRODUCTS = ("Conv", "ConvTranspose", "MatMul", "Gemm", "Einsum")
_RECURRENT = ("LSTM", "GRU", "RNN")
_UNKNOWN = ("QLinear", "Integer", "Deform")
"""Parts of the names of other operators that multiply."""
_Array = npt.NDArray[Any]
Looks = tuple[int, int, int]


@dataclass(frozen=True)
class FileCounts:
    """Of the convolutions, matrix products and recurrent layers of a file."""

    weights: int
    """What they multiply by that does not depend on the input; of tensors with the same values, in
    whatever order, one. Biases are not among them."""
    weights_nonzero: int
    """Those that are not exactly zero."""
    macs_dense: int
    """Multiply-adds of one image."""
    macs_nonzero: int
    """The same without those by a weight that is zero."""


def count_file(path: Path) -> FileCounts | None:
    """Count a float32 ONNX file.

    Args:
        path: of a model with one input, whose first dimension is the batch.

    Returns:
        None: it cannot be known, as it multiplies in branches, loops or operators that are not
        ONNX's own, sums over products of more than two factors, or does not run.
    """
    model = onnx.load(str(path))
    if any(_is_unknown(node) for node in model.graph.node):
        return None
    nodes = [node for node in model.graph.node if _multiplies(node)]
    if not nodes:
        return FileCounts(0, 0, 0, 0)
    try:
        values = _values(model, {n for node in nodes for n in (*node.input[:3], node.output[0]) if n})
    except Exception as e:  # the exceptions of ONNX Runtime share no base class of their own
        logger.info("%s: its weights cannot be counted, %s", path, " ".join(str(e).split())[:160])
        return None
    constants = _constants(model.graph)
    stored: dict[Looks, tuple[int, int]] = {}
    dense = nonzero = 0
    for node in nodes:
        operands = _operands(node)
        weights = [name for name in operands if name in constants]
        if len(weights) == len(operands) and node.op_type not in _RECURRENT:  # a constant, whatever the image
            continue
        macs, size = _macs(node, values), sum(values[name].size for name in weights)
        dense, nonzero = dense + macs, nonzero + macs
        for weight in (values[name] for name in weights if size):
            kept = int(np.count_nonzero(weight))
            stored[looks(weight)] = weight.size, kept
            nonzero -= macs * (weight.size - kept) // size
    weights_all, weights_kept = (sum(sizes) for sizes in zip(*stored.values(), strict=True)) if stored else (0, 0)
    return FileCounts(weights_all, weights_kept, dense, nonzero)


def looks(values: npt.NDArray[Any]) -> Looks:
    """The same for arrays with the same float32 values in whatever order; for others hardly ever."""
    bits = np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint32).astype(np.uint64)
    return values.size, int(bits.sum(dtype=np.uint64)), int((bits * bits).sum(dtype=np.uint64))


def _multiplies(node: Any) -> bool:
    if node.op_type == "Einsum":
        return bool(_summed(node))
    return node.op_type in _PRODUCTS or node.op_type in _RECURRENT


def _is_unknown(node: Any) -> bool:
    if node.domain not in ("", "ai.onnx") or any(part in node.op_type for part in _UNKNOWN):
        return True
    if node.op_type == "Einsum" and len(node.input) > 2:
        return True
    return any(_multiplies(inner) or _is_unknown(inner) for graph in _branches(node) for inner in graph.node)


def _branches(node: Any) -> Iterator[Any]:
    """The graphs inside a node: of a branch or a loop."""
    return (a.g for a in node.attribute if a.HasField("g"))


def _terms(einsum: Any) -> list[str]:
    """Indices of what an Einsum multiplies, one character each, "." for all that are not named; then of its output."""
    (equation,) = (a.s.decode() for a in einsum.attribute if a.name == "equation")
    factors, arrow, output = equation.replace(" ", "").replace("...", ".").partition("->")
    terms = factors.split(",")
    return [*terms, output if arrow else "".join(i for i in factors if factors.count(i) == 1)]


def _summed(einsum: Any) -> set[str]:
    """The indices that an Einsum sums products over; of those of one factor alone it sums that factor."""
    *factors, output = _terms(einsum)
    return set.intersection(*map(set, factors)) - {*output, "."}


def _constants(graph: Any) -> set[str]:
    """Values that depend on no more than the input's shape."""
    found = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        from_shape = node.op_type in ("Shape", "Size")
        if from_shape or (all(not n or n in found for n in node.input) and not any(_branches(node))):
            found.update(node.output)
    return found


def _values(model: Any, wanted: set[str]) -> dict[str, _Array]:
    """These values in a run of one image of zeros."""
    import onnxruntime

    stored = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer if t.name in wanted}
    computed = sorted(wanted - stored.keys() - {i.name for i in model.graph.input})
    del model.graph.output[:]
    outputs = (onnx.ValueInfoProto(name=name) for name in computed)  # type: ignore[attr-defined]
    model.graph.output.extend(outputs)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    image = np.zeros([1, *given.shape[1:]], np.uint8 if given.type == "tensor(uint8)" else np.float32)
    run = session.run(computed, {given.name: image})
    return {given.name: image} | stored | dict(zip(computed, run, strict=True))


def _operands(node: Any) -> list[str]:
    """What a node multiplies: two values; of a recurrent one the weights of its input and those of its state."""
    return list(node.input[1:3] if node.op_type in _RECURRENT else node.input[:2])


def _macs(node: Any, values: Mapping[str, _Array]) -> int:
    first, second = (values[name] for name in _operands(node))
    made = values[node.output[0]]
    if node.op_type in _RECURRENT:
        return math.prod(values[node.input[0]].shape[:2]) * int(first.size + second.size)
    if node.op_type == "Conv":
        return int(made.size * second[0].size)
    if node.op_type == "ConvTranspose":
        return int(first.size * second[0].size)
    if node.op_type == "Einsum":
        left, _, right = _terms(node)[0].partition(".")
        return int(made.size) * math.prod(
            first.shape[left.index(i) if i in left else right.index(i) - len(right)] for i in _summed(node)
        )
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    return int(made.size * (first.shape[0] if transposed else first.shape[-1]))
