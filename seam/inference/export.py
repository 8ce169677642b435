"""ONNX export, checked against torch before the file gets its name."""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from seam.errors import ExportError
from seam.files import write_bytes
from seam.inference.exportable import Exportable

OPSET = 17
"""DeepSparse 1.8 reads up to opset 19 and IR 9; the TorchScript exporter writes both for opset
17."""
TOLERANCE = 1e-4
"""Largest difference from torch, relative to the largest output (absolute below 1)."""
_ROUNDED = 4.0, 1e-3
"""Where float32 itself is further from float64, as in deep networks whose weights are random: so many times that
distance, but not more than the second number, again relative."""
_CHECKED_BATCHES = (1, 3)


class Serving(nn.Module):
    """Images as they come from disk, to the probabilities of the target classes."""

    def __init__(self, model: nn.Module, preprocess: nn.Module) -> None:
        super().__init__()
        self.preprocess = preprocess
        self.model = model

    def forward(self, images: UInt8[Tensor, "batch height width channels"]) -> Float[Tensor, "batch classes"]:
        """Probabilities of the target classes, each row sums to 1."""
        probabilities: Tensor = self.model(self.preprocess(images)).softmax(dim=1)
        return probabilities


def export_onnx(
    model: nn.Module,
    example_input: Float[Tensor, "batch channels height width"],
    path: Path,
    accept: Callable[[Path], None] = lambda _: None,
) -> float:
    """Write `model` as ONNX: `input` (any batch size) to `logits`, float32.

    Args:
        model: masked weights are exact zeros in it, so that a sparse engine finds them. It is not
            changed.
        example_input: only its shape and type are used.
        path: of the file; it appears whole and checked, or not at all: what is there stays then. The
            same weights give the same bytes.
        accept: is given a file of this name and content before, and raises what it has against it.

    Returns:
        Largest absolute difference from torch over seeded random inputs.

    Raises:
        ExportError: an operator cannot be exported, the model is not valid, or its outputs differ
            from torch's.
    """
    inputs = [torch.rand((n, *example_input.shape[1:]), generator=_generator()) for n in _CHECKED_BATCHES]
    return _export(model, inputs, "input", "logits", path, accept)


def export_serving_onnx(
    model: nn.Module, preprocess: nn.Module, image_shape: tuple[int, int, int], path: Path
) -> float:
    """Write preprocessing, model and softmax as one ONNX file.

    `images` (uint8 NHWC, any batch size) to `probabilities`.

    Args:
        model: normalised float32 NCHW to target logits. It is not changed.
        preprocess: uint8 NHWC to the input of `model` (seam.networks.source.Preprocess).
        image_shape: (height, width, channels) of the images as stored.
        path: of the file; it appears whole and checked, or not at all. The same weights give the
            same bytes.

    Returns:
        Largest absolute difference of the probabilities from torch's over seeded random images.

    Raises:
        ExportError: as for `export_onnx`.
    """
    inputs = [
        torch.randint(0, 256, (n, *image_shape), dtype=torch.uint8, generator=_generator()) for n in _CHECKED_BATCHES
    ]
    return _export(Serving(model, preprocess), inputs, "images", "probabilities", path)


def write_unchecked(
    model: nn.Module, example_input: Tensor, path: Path, input_name: str = "input", output_name: str = "logits"
) -> None:
    """Write `model`, in eval mode and on the CPU, as ONNX with any batch size; raises whatever the exporter does.

    Nothing is printed. Attention, pools and views are written in operators that ONNX has.
    """
    axes = {name: {0: "batch"} for name in (input_name, output_name)}
    names: dict[str, Any] = {"input_names": [input_name], "output_names": [output_name], "dynamic_axes": axes}
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # attention as one operator, which ONNX has not
    log = torch._C._jit_onnx_log
    torch._C._jit_onnx_log = lambda *_: None  # the whole graph of what cannot be exported, whatever `verbose` says
    try:
        with Exportable():
            torch.onnx.export(model, (example_input,), str(path), opset_version=OPSET, dynamo=False, **names)
    finally:
        torch._C._jit_onnx_log = log
        torch.backends.mha.set_fastpath_enabled(fast)


def check_runs(path: Path, network: nn.Module, inputs: Sequence[Tensor]) -> None:
    """Raise an ExportError unless ONNX Runtime computes from these inputs what the network does."""
    _largest_difference(path.read_bytes(), network, inputs, path)


def _export(
    model: nn.Module,
    inputs: list[Tensor],
    input_name: str,
    output_name: str,
    path: Path,
    accept: Callable[[Path], None] = lambda _: None,
) -> float:
    frozen = copy.deepcopy(model).cpu().float().eval()
    with tempfile.TemporaryDirectory() as folder, torch.no_grad(), warnings.catch_warnings():
        # the TorchScript exporter is deprecated; the other one writes what DeepSparse cannot read
        warnings.simplefilter("ignore")
        unchecked = Path(folder) / path.name
        try:
            write_unchecked(frozen, inputs[0], unchecked, input_name, output_name)
            onnx.checker.check_model(str(unchecked), full_check=True)
        except Exception as e:  # the exporter raises many kinds, none its own
            raise ExportError(
                f"{path}: expected a model that exports to ONNX opset {OPSET}, got {_one_line(e)}; replace that"
                " operator."
            ) from e
        content = unchecked.read_bytes()
        difference = _largest_difference(content, frozen, inputs, path)
        accept(unchecked)
    write_bytes(path, content)
    return difference


@torch.no_grad()
def _largest_difference(content: bytes, network: nn.Module, inputs: Sequence[Tensor], path: Path) -> float:
    """Largest absolute difference between ONNX Runtime and torch; ExportError beyond the tolerance."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is raised, and said once
    largest = 0.0
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        outputs = [session.run(None, {name: x.numpy()})[0] for x in inputs]
    except Exception as e:  # its exceptions share no base class of their own
        raise ExportError(
            f"{path}: expected ONNX Runtime to run the exported model for any batch size, got {_one_line(e)}; take the"
            " batch from the images' shape, and replace loops over images."
        ) from e
    for x, got in zip(inputs, outputs, strict=True):
        wanted = network(x).numpy()
        if got.shape != wanted.shape:
            raise ExportError(
                f"{path}: expected outputs of shape {wanted.shape}, got {got.shape}; the model must work for any batch"
                " size, use x.flatten(1)."
            )
        difference = float(np.abs(got - wanted).max())
        scale = max(1.0, float(np.abs(wanted).max()))
        allowed = TOLERANCE * scale
        if difference > allowed:
            allowed = max(allowed, min(_ROUNDED[0] * _rounding(network, x, wanted), _ROUNDED[1] * scale))
        if not difference <= allowed:  # also when it is NaN
            raise ExportError(
                f"{path}: ONNX Runtime differs from torch by {difference:.3g}, expected at most {allowed:.3g};"
                " the model does something the export does not carry over (or gives NaN)."
            )
        largest = max(largest, difference)
    return largest


def _rounding(network: nn.Module, x: Tensor, wanted: npt.NDArray[np.float32]) -> float:
    """How far outputs in float32 are from those in float64; 0 where the network takes no float64."""
    try:
        exact = copy.deepcopy(network).double()(x.double()).numpy()
    except Exception:  # whatever a network of the user's own raises
        return 0.0
    return float(np.abs(exact - wanted).max())


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}"
