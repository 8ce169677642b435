"""Post-training quantisation: weights and activations rounded to 8 bits, by NNCF, in one ONNX file for all engines."""

from __future__ import annotations

import copy
import logging
import os
import tempfile
import warnings
from pathlib import Path

import onnx
import torch
from jaxtyping import Float
from torch import Tensor, nn

from seam.compaction.layers import fold_norms
from seam.compaction.trace import NotFollowedError, trace
from seam.errors import ExportError
from seam.files import write_bytes
from seam.inference.export import OPSET, write_unchecked

CALIBRATION_IMAGES = 300
"""NNCF's default."""


def quantize(model: nn.Module, images: Float[Tensor, "images channels height width"], path: Path) -> None:
    """Write a model as ONNX with int8 convolutions and linear layers.

    `input` (any batch size) to `logits`, QuantizeLinear and DequantizeLinear around them.

    The last layer stays in float: it costs nothing, and a head of a few weights rounds badly (one
    gave constant outputs).

    Args:
        model: in eval mode, on the CPU. It is not changed.
        images: two or more, normalised: the ranges of activations are taken from the first
            `CALIBRATION_IMAGES`.
        path: of the file; it appears whole, or not at all. The same weights and images give the
            same bytes.

    Raises:
        ExportError: NNCF is not installed, or cannot quantise this model.
    """
    os.environ.setdefault("NNCF_CI", "1")  # otherwise it reports its use to its makers
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rounded = _rounded(_Whole(_folded(model, images[:2])), images[:CALIBRATION_IMAGES])
            content = _exported(rounded, images[:2], Path(folder))
    except ImportError as e:
        raise ExportError(
            f"int8: expected the package {e.name}, it is not installed; run `pip install nncf` or leave the int8"
            " engines out."
        ) from e
    except Exception as e:  # many kinds, none its own
        raise ExportError(
            f"{path.name}: expected a model that NNCF can quantise, got {type(e).__name__}:"
            f" {' '.join(str(e).split())[:160]}"
        ) from e
    write_bytes(path, content)


class _Whole(nn.Module):
    """A graph under another type: NNCF takes a torch.fx graph for something else."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.model(images)
        return outputs


def _folded(model: nn.Module, images: Tensor) -> nn.Module:
    """A copy with BatchNorm folded, so that a convolution and its norm are one int8 operation."""
    model = copy.deepcopy(model).requires_grad_(False)
    try:
        traced = trace(model, images)
    except NotFollowedError:
        return model
    with torch.no_grad():
        fold_norms(traced)
    traced.clean()
    return traced.module


def _rounded(model: nn.Module, images: Tensor) -> nn.Module:
    """`model` with all but the last layer rounded, in a form that exports as QuantizeLinear and DequantizeLinear."""
    import nncf
    from nncf.torch.function_hook import wrap_model
    from nncf.torch.function_hook.nncf_graph.nncf_graph_builder import build_nncf_graph
    from nncf.torch.quantization.extensions import QuantizedFunctionsCPU
    from nncf.torch.quantization.layers import BaseQuantizer, QuantizerExportMode
    from nncf.torch.quantization.reference import ReferenceQuantizedFunctions

    logging.getLogger("nncf").setLevel(logging.ERROR)  # the import has set it
    QuantizedFunctionsCPU._loaded_namespace = (
        ReferenceQuantizedFunctions  # else it compiles C++, and a killed compiler's lock stops the next run
    )
    graph = build_nncf_graph(wrap_model(copy.deepcopy(model)), images[:1])
    *_, last = (
        n.node_name for n in graph.topological_sort() if n.node_type in ("conv1d", "conv2d", "conv3d", "linear")
    )
    samples = nncf.Dataset([image[None] for image in images])
    rounded: nn.Module = nncf.quantize(
        model, samples, subset_size=len(images), ignored_scope=nncf.IgnoredScope(names=[last])
    )
    for module in rounded.modules():
        if isinstance(module, BaseQuantizer):
            module.set_export_mode(QuantizerExportMode.ONNX_QUANTIZE_DEQUANTIZE_PAIRS)
    return rounded


def _exported(rounded: nn.Module, images: Tensor, folder: Path) -> bytes:
    """ONNX with weights stored as int8; the exporter alone leaves them in float, to be rounded when they are read."""
    import onnxruntime

    exported, stored = folder / "exported.onnx", folder / "stored.onnx"
    write_unchecked(rounded.eval(), images, exported)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(stored)
    onnxruntime.InferenceSession(str(exported), options, providers=["CPUExecutionProvider"])
    model = onnx.load(str(stored))
    del model.opset_import[:]  # ONNX Runtime lists operators of its own, none of which are there
    model.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())
