"""The check-up of a source as the stages make it: a table in the log, doubts on the card, one line where it stops."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from seam.data.formats.load import class_names
from seam.data.prepared import load_prepared
from seam.measures.check_up import check_up
from seam.measures.findings import Finding, judge
from seam.networks.build import build
from seam.networks.plain import load_either_form
from seam.networks.source import Preprocess, channels_taken
from tasks.inputs.checkpoint import fetch_checkpoint
from tasks.project.params import Params

logger = logging.getLogger(__name__)


def checked(network: nn.Module, images: Tensor, num_classes: int, name: str) -> None:
    """Look at a network before anything is computed with it.

    Args:
        network: of any mode, on the CPU; it is not changed.
        images: three or more, as it takes them.
        num_classes: scores that it should give.
        name: of the network, in errors.

    Raises:
        SourceError: it cannot be worked on.

    Warns:
        SuspectResultWarning: something about it is doubtful.
    """
    findings = check_up(network, images, num_classes)
    for finding in findings:
        logger.info("check-up, %s: %s", finding.what, finding.found)
    judge(findings, name)


def look(root: Path, params: Params) -> list[Finding]:
    """The check-up of the network that `prepare_source` would begin with, its checkpoint loaded; nothing is written.

    Images are those that were prepared, or random ones of `data.image_size` (32 pixels where it is
    not set).

    Args:
        root: the project.
        params: of the project.

    Raises:
        SeamError: there is no such network, checkpoint or data set.
    """
    config, data = params.prepare_source, params.data
    prepared = root / "artifacts" / "validate_data" / "dataset.safetensors"
    if prepared.is_file():
        found = load_prepared(prepared)
        network = build(config.architecture, len(found.classes)).eval()
        channels, classes = channels_taken(network, found.image_shape), found.classes
        images = Preprocess((0.5,) * channels, (0.25,) * channels)(torch.from_numpy(found.x_train[:3]))
    else:
        side, classes = data.image_size or 32, class_names(data.kind, root / data.path)
        network = build(config.architecture, len(classes)).eval()
        channels = channels_taken(network, (side, side, 1))
        images = torch.rand(3, channels, side, side, generator=torch.Generator().manual_seed(0))
    if config.checkpoint is not None:
        tensors = fetch_checkpoint(config.checkpoint, config.architecture, root)
        load_either_form(network, tensors.tensors, str(root / config.checkpoint), images, config.weights)
    return check_up(network, images, len(classes))
