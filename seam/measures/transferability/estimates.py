"""The estimates, one row each: what every table, page and file about them is made from."""

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
from seam.measures.transferability.seen import Seen


@dataclass(frozen=True)
class Row:
    """One estimate; of all of them, higher is better."""

    name: str
    label: str
    words: str
    """What it says, in a sentence."""
    source: str
    """Where it was published."""
    by_image: bool
    """Whether it is a mean over images, so that its certainty can be told by drawing them again."""


ROWS = (
    Row(
        "probe",
        "linear probe",
        "Share of images that a linear classifier on the frozen features gets right, cross-validated.",
        "Alain and Bengio 2016; Kornblith et al. 2019",
        by_image=True,
    ),
    Row(
        "probe_likelihood",
        "probe, likelihood",
        "Mean logarithm of the probability that the same classifier gives each image's label.",
        "Alain and Bengio 2016",
        by_image=True,
    ),
    Row("logme", "LogME", "Log evidence of a linear model of the features.", "You et al. 2021", by_image=False),
    Row(
        "leep",
        "LEEP",
        "Log probability of the labels, knowing which of the network's own classes each image looks like.",
        "Nguyen et al. 2020",
        by_image=True,
    ),
    Row("nleep", "NLEEP", "The same, of clusters of the features.", "Li et al. 2021", by_image=True),
    Row(
        "hscore",
        "H-score",
        "How far apart the classes' mean features are, with a shrunk covariance.",
        "Bao et al. 2019; Ibrahim et al. 2021",
        by_image=False,
    ),
)
ESTIMATES: Mapping[str, Row] = {row.name: row for row in ROWS}


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
