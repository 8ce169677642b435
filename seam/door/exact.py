"""Masks made physical, and files for engines."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seam.compaction import compact as remove_channels
from seam.compaction.trace import DecidesByContentError, NotFollowedError, trace
from seam.door.arguments import in_memory, own_copy
from seam.door.compose import Composition
from seam.door.patch import Patch
from seam.door.restructure import Restructured
from seam.door.transfer import Transferred
from seam.door.work import Small
from seam.errors import DataError, ExportError, SourceError, SuspectResultWarning
from seam.inference.export import export_onnx
from seam.masks.masks import Masks, apply_masks
from seam.measures.findings import taking
from seam.measures.shipped import Claim, ship
from seam.networks.plain import copy_of, plain, unwrapped
from seam.networks.scores import give_scores, shown_output

_CHANGED = "the network is not as it was reported; export its .network with an example, of which nothing is said"


def compact(network: nn.Module, masks: Masks | None, example: Tensor) -> nn.Module:
    """A network without the weights that masks remove and without all that has no effect then.

    Args:
        network: whose masks these are. It is not changed.
        masks: parameter -> which of its weights are kept; None: the removed ones are zero already.
        example: images as the network takes them, (batch, channels, height, width); only their shape
            counts.

    Returns:
        It gives what the masked network gives, up to rounding (1e-5 of the largest output), for any
        number of images; eval mode, on the CPU. Where nothing can go, it is as large as the network.

    Raises:
        DataError: the example is none of images.
        SourceError: the network is not in float32, its weights are not in memory, or it does not take
            such images.
        MaskError: a mask for a weight that is not there, of another shape, or that is none.
    """
    masked, images = own_copy(network), _like(example)
    with taking(network, images, SourceError), torch.no_grad():
        masked(images.clone())
    plain(masked, images)
    apply_masks(masked, {} if masks is None else masks)
    return remove_channels(masked, images).module


def _like(example: Any) -> Tensor:
    """Zeros of the shape of images, two of them; a DataError where there is none."""
    shape = tuple(example.shape) if isinstance(example, Tensor | np.ndarray) else ()
    if len(shape) < 2:
        got = f"shape {shape}" if shape else type(example).__name__
        raise DataError(
            f"example: expected images as the network takes them, shape (batch, channels, height, width), got {got};"
            " give one."
        )
    return torch.zeros(2, *shape[1:])


def export(
    model: Small | Transferred | Restructured | Composition | Patch | nn.Module,
    path: str | Path,
    example: Tensor | None = None,
) -> Path:
    """Write a model as ONNX: `input`, float32 (any batch, channels, height, width), to `logits`.

    The file is checked against torch in ONNX Runtime, and appears whole or not at all. What the
    report of a result says of its weights and multiply-adds is counted on the file as well.

    Args:
        model: what another function of the door gave, or a network; it is not changed. Of several
            outputs the class scores are written.
        path: of the file, its name ends in .onnx.
        example: images as the network takes them; needed for a network, only their shape counts.

    Returns:
        The path.

    Raises:
        ExportError: another kind of file, no example, a network whose weights are not in memory, that
            does not take such images or does not export, or a file with other weights or multiply-adds
            than the report says; what was there is as before then.

    Warns:
        SuspectResultWarning: the network decides by the content of images what it computes, the file
            does the same for all.
    """
    file = _file(path)
    if not isinstance(model, nn.Module | Small | Transferred | Restructured | Composition | Patch):
        raise ExportError(f"expected a network, or what seam made of one, got {type(model).__name__}; load it first.")
    network = unwrapped(model) if isinstance(model, nn.Module) else model.network
    shown = example if isinstance(model, nn.Module) else model.example
    if shown is None:
        raise ExportError("expected an example of the network's images, got none; give example.")
    images = _like(shown)
    if isinstance(model, nn.Module):
        in_memory(network)
        export_onnx(_with_one_output(network, images), images, file)
    else:
        ship(network, images, file, Claim(model.report.counts(), "the report", _CHANGED))
    _doubt_decisions(network, images)
    return file


def _file(path: Any) -> Path:
    """Where an ONNX file can be written; an ExportError for any other place."""
    if not isinstance(path, str | os.PathLike):
        raise ExportError(f"path: expected the name of a file, got {type(path).__name__}; give one.")
    file = Path(path)
    if file.suffix != ".onnx":
        raise ExportError(f"{file}: expected a file name that ends in .onnx, got '{file.suffix}'.")
    there = next((folder for folder in file.absolute().parents if folder.exists()), file)
    if file.is_dir() or not there.is_dir():
        what = "is a folder" if file.is_dir() else f"would lie in {there}, which is a file"
        raise ExportError(f"{file}: expected a place for a file, got one that {what}; give another.")
    return file


def _doubt_decisions(network: nn.Module, example: Tensor) -> None:
    """Warn where the network's code goes one way or another by what is in the images: its file goes one way."""
    try:
        trace(copy_of(network).cpu().float().eval().requires_grad_(False), example)
    except DecidesByContentError as e:
        text = f"{type(network).__name__}: {e}: the file goes one way for all images; let torch.where choose"
        warnings.warn(SuspectResultWarning(f"{text} between the two results"), stacklevel=3)
    except NotFollowedError:
        pass  # other reasons do not matter to a file that was compared with torch


def _with_one_output(network: nn.Module, example: Tensor) -> nn.Module:
    """A copy that gives its class scores alone, where they are one of several outputs."""
    copied, images = copy_of(network).cpu().float().eval(), example
    with taking(copied, images, ExportError), torch.no_grad():
        copied(images.clone())
    give_scores(copied, images, one_logit=True)
    output = copied(images)
    if not isinstance(output, Tensor):
        raise ExportError(
            f"{type(network).__name__}: expected class scores, shape (images, classes), got {shown_output(output)};"
            " return one of them alone, or by the name 'logits'."
        )
    return copied
