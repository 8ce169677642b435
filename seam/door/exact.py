"""Masks made physical, and files for engines."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from seam.compaction import compact as remove_channels
from seam.door.asked import own_copy
from seam.door.compose import Composition
from seam.door.patch import Patch
from seam.door.restructure import Restructured
from seam.door.transfer import Transferred
from seam.door.work import Small
from seam.errors import ExportError
from seam.inference.export import export_onnx
from seam.masks.masks import Masks, apply_masks
from seam.measures.shipped import Claim, ship
from seam.networks.plain import copy_of, plain
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
        SourceError: the network is not in float32, or its weights are not in memory.
        MaskError: a mask for a weight that is not there, or of another shape.
    """
    masked = own_copy(network)
    plain(masked, example.cpu())
    apply_masks(masked, masks or {})
    return remove_channels(masked, example.cpu()).module


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
        ExportError: another kind of file, no example, the network does not export, or the file has
            other weights or multiply-adds than the report says; the file is as before then.
    """
    file = Path(path)
    if file.suffix != ".onnx":
        raise ExportError(f"{file}: expected a file name that ends in .onnx, got '{file.suffix}'.")
    network = model if isinstance(model, nn.Module) else model.network
    shown = example if isinstance(model, nn.Module) else model.example
    if shown is None:
        raise ExportError("expected an example of the network's images, got none; give example.")
    if isinstance(model, nn.Module):
        export_onnx(_with_one_output(network, shown.cpu()), shown, file)
        return file
    ship(network, shown, file, Claim(model.report.counts(), "the report", _CHANGED))
    return file


def _with_one_output(network: nn.Module, example: Tensor) -> nn.Module:
    """A copy that gives its class scores alone, where they are one of several outputs."""
    copied, images = copy_of(network).cpu().eval(), torch.cat([example[:1]] * 2)
    try:
        with torch.no_grad():
            copied(images.clone())
    except Exception:  # whatever the network's own code raises, the export says it
        return copied
    give_scores(copied, images, one_logit=True)
    output = copied(images)
    if not isinstance(output, Tensor):
        raise ExportError(
            f"{type(network).__name__}: expected class scores, shape (images, classes), got {shown_output(output)};"
            " return one of them alone, or by the name 'logits'."
        )
    return copied
