"""All estimates of one network, from what it makes of the images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seam.errors import DataError
from seam.measures.transferability.hscore import hscore
from seam.measures.transferability.leep import leep, nleep
from seam.measures.transferability.logme import logme
from seam.measures.transferability.probe import Probe, probe
from seam.measures.transferability.rows import ESTIMATES
from seam.measures.transferability.seen import Seen


@dataclass(frozen=True)
class Estimated:
    """All estimates of one network on the same images."""

    values: Mapping[str, float]
    """By the names of `ESTIMATES`."""
    by_image: Mapping[str, Float[Tensor, " images"]]
    """What each image adds, of those that are a mean over images."""
    probe: Probe


def estimate(seen: Seen, labels: Int[Tensor, " images"], folds: int, seed: int) -> Estimated:
    """Compute every estimate.

    Args:
        seen: of the network.
        labels: 0, 1, ... of two classes or more, each with `folds` images or more.
        folds: of the linear probe.
        seed: of folds and clusters.

    Raises:
        DataError: fewer classes or images.
    """
    counts = labels.bincount()
    if len(counts) < 2 or int(counts.min()) < folds:
        raise DataError(
            f"expected two classes or more of at least {folds} images each, got {len(counts)}, of which the"
            f" smallest has {int(counts.min())} images; give more."
        )
    found = probe(seen.features, labels, folds, seed)
    by_image = {
        "probe": found.right.double(),
        "probe_likelihood": found.log_likelihood,
        "leep": leep(seen.probabilities, labels),
        "nleep": nleep(seen.features, labels, seed),
    }
    whole = {"logme": logme(seen.features, labels), "hscore": hscore(seen.features, labels)}
    values = {**{name: float(each.mean()) for name, each in by_image.items()}, **whole}
    return Estimated({name: values[name] for name in ESTIMATES}, by_image, found)


def stacked(found: Mapping[str, Estimated], by: str) -> Float[Tensor, "networks images"]:
    """What each image adds to one estimate, of several networks."""
    return torch.stack([one.by_image[by] for one in found.values()])
