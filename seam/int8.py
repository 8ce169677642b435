"""Post-training quantisation: weights and activations rounded to 8 bits, for OpenVINO, by NNCF."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from seam.engines import FloatArray
from seam.errors import ExportError

CALIBRATION_IMAGES = 300
"""NNCF's default."""


def quantize(onnx: Path, images: FloatArray, path: Path) -> None:
    """Write an ONNX model as OpenVINO's .xml and .bin with int8 convolutions and linear layers.

    The last layer stays in float: it costs nothing, and a head of a few weights rounds badly (one gave constant outputs).

    Args:
        onnx: one float32 input, any batch size.
        images: (images, channels, height, width), normalised: the ranges of activations are taken from the first `CALIBRATION_IMAGES`.
        path: of the .xml; the .bin lies beside it.

    Raises:
        ExportError: NNCF is not installed, or cannot quantise this model.
    """
    os.environ.setdefault("NNCF_CI", "1")  # otherwise it reports its use to its makers
    try:
        import nncf
        import openvino
    except ImportError as e:
        raise ExportError(f"int8: expected the package {e.name}, it is not installed; run `pip install nncf openvino` or leave openvino_int8 out.") from e
    nncf.set_log_level("ERROR")
    try:
        model = openvino.Core().read_model(str(onnx))
        *_, last = (o.get_friendly_name() for o in model.get_ordered_ops() if o.get_type_name() in ("MatMul", "Convolution"))
        samples = nncf.Dataset([image[np.newaxis] for image in images[:CALIBRATION_IMAGES]])
        quantized = nncf.quantize(model, samples, subset_size=min(CALIBRATION_IMAGES, len(images)), ignored_scope=nncf.IgnoredScope(names=[last]))
        openvino.save_model(quantized, str(path), compress_to_fp16=False)
    except Exception as e:  # many kinds, none its own
        raise ExportError(f"{onnx}: expected a model that NNCF can quantise, got {type(e).__name__}: {' '.join(str(e).split())[:160]}") from e
