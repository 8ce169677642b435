"""The check-up of a source as the stages make it: a table in the log, doubts on the card, one line where it stops."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from seam.data.formats.load import read_some
from seam.data.prepared import load_prepared
from seam.data.raw import one_array
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

    It is shown images of the data set that the parameters name, of their size and channels; where
    that is not there, those that were prepared.

    Args:
        root: the project.
        params: of the project.

    Raises:
        SeamError: there is no such network, checkpoint or data set, or its images have several sizes.
    """
    config = params.prepare_source
    stored, classes = _given(root, params)
    network = build(config.architecture, len(classes)).eval()
    channels = channels_taken(network, stored.shape[1:])
    images = Preprocess((0.5,) * channels, (0.25,) * channels)(torch.from_numpy(stored))
    if config.checkpoint is not None:
        tensors = fetch_checkpoint(config.checkpoint, config.architecture, root, config.sha256)
        load_either_form(network, tensors.tensors, str(root / config.checkpoint), images, config.weights)
    return check_up(network, images, len(classes))


def _given(root: Path, params: Params) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    """Three images of the data set, shape (images, height, width, channels), and its classes."""
    data, prepared = params.data, root / "artifacts" / "validate_data" / "dataset.safetensors"
    path = root / data.path
    is_there = path.is_file() or (path.is_dir() and any(path.iterdir()))
    if prepared.is_file() and not is_there:
        found = load_prepared(prepared)
        return found.x_train[:3], found.classes
    raw = read_some(data.kind, path, data.image_size, data.exif)
    images = one_array(raw, path)
    return images[[0, len(images) // 2, len(images) - 1]], raw.classes
