"""How a call of the door begins: a network and images of its own classes, looked at before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from seam.door.arguments import Wanted, own_copy
from seam.door.asked import Images, doubt_val, read
from seam.door.given import Given
from seam.door.normalisation import as_taken
from seam.measures.check_up import check_up
from seam.measures.findings import Finding, judge
from seam.networks.plain import plain


@dataclass(frozen=True)
class Start:
    """A network, and images of its classes."""

    source: nn.Module
    """A plain copy of the network that gives its class scores alone; eval mode, on the CPU."""
    images: Images
    example: Tensor
    """Three of the training images as it takes them."""
    findings: tuple[Finding, ...]
    """Of its check-up."""
    name: str
    """Of the network, in errors."""

    def judge(self) -> None:
        """Go on, or not.

        Raises:
            SourceError: the check-up says that nothing can work.

        Warns:
            SuspectResultWarning: it found something doubtful, or val may have been trained on.
        """
        judge(self.findings, self.name)
        doubt_val(self.images)


def begin(
    network: nn.Module, train: Given, val: Given | None, class_names: Sequence[str] | None, wanted: Wanted
) -> Start:
    """Read and look at what a call is given.

    Args:
        network: trained; it is not changed.
        train: images of its classes.
        val: further images; None: see `seam.door.asked.read`.
        class_names: of the network's outputs, in their order; None: those of the images.
        wanted: how images are read.

    Raises:
        DataError: images, labels or classes are not what they should be.
        SourceError: the network does not take these images, or gives no class scores.
    """
    source = own_copy(network)
    images = as_taken(source, read(train, val, wanted), class_names, wanted)
    example = images.example.cpu()
    plain(source, example)
    findings = check_up(source, example, len(images.train.classes or ()))
    return Start(source, images, example, tuple(findings), type(network).__name__)
