"""What a check-up found, and what follows from it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from seam.errors import Hint, SeamError, SourceError, SuspectResultWarning

_DEVICE = re.compile("cuda|nvidia|same device", re.IGNORECASE)
"""In errors of networks that choose a device of their own."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    found: str
    """In one line; where there is something wrong, with its cause and what to do."""
    verdict: Literal["ok", "doubt", "stop"] = "ok"
    """`stop`: nothing that follows can work."""
    hint: Hint | None = None
    """What is to be changed, where `found` does not say it."""


def judge(findings: Sequence[Finding], name: str) -> None:
    """Go on, or not.

    Args:
        findings: of a network.
        name: says which network it is.

    Raises:
        SourceError: the first finding that says stop.

    Warns:
        SuspectResultWarning: each that is doubtful.
    """
    for finding in findings:
        if finding.verdict == "doubt":
            warnings.warn(finding.found, SuspectResultWarning, stacklevel=2)
        if finding.verdict == "stop":
            raise SourceError(f"{name}: {finding.found}", hint=finding.hint)


def not_taken(network: nn.Module, images: Tensor, error: Exception) -> Finding:
    """Why a network does not take images, from what its forward raised.

    Args:
        network: that was run.
        images: that it was given, shape (batch, channels, ...).
        error: that it raised.
    """
    channels = images.shape[1] if images.ndim > 1 else 0
    first = next((m for m in network.modules() if isinstance(m, _ConvNd)), None)
    other = next(((n, t) for n, t in network.named_parameters() if t.dtype != images.dtype), None)
    wanted = channels if first is None else first.in_channels
    if wanted != channels and f"{wanted} channels" in str(error):
        text = f"expected a network that takes images of {channels} channels, got one of {wanted}; give images of"
        last = images.shape[-1] == wanted
        text += f" {wanted} channels{', these before height and width' if last else ''}, or a network whose first"
        return Finding("input", f"{text} layer takes {channels}.", "stop")
    if other is not None:
        text = f"'{other[0]}' is {other[1].dtype}, the images are {images.dtype}; call network.float() first."
    elif _DEVICE.search(str(error)):
        text = f"it computes on another device than its images are on: {one_line(error)}; let it use that of its input."
    elif isinstance(error, RuntimeError | ValueError):
        text = f"it does not take images of {sides(images)} pixels: {one_line(error)}"
        return Finding("input", text, "stop", "image_size")
    else:
        text = f"its forward fails on a batch of images: {type(error).__name__}: {one_line(error)}; mend it."
    return Finding("input", text, "stop")


@contextmanager
def taking(network: nn.Module, images: Tensor, error: type[SeamError]) -> Iterator[None]:
    """Whatever running the network on these images raises in the block is this kind of error, with its cause."""
    try:
        yield
    except Exception as e:  # whatever the network's own code raises
        finding = not_taken(network, images, e)
        raise error(f"{type(network).__name__}: {finding.found}", hint=finding.hint) from e


def sides(images: Tensor) -> str:
    """Of images of shape (batch, channels, ...), in words."""
    return " x ".join(map(str, images.shape[2:]))


def one_line(error: Exception) -> str:
    """What an error says, cut short."""
    return " ".join(str(error).split())[:160] or type(error).__name__
