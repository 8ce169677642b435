"""The estimates, one row each: what every table, page and file about them is made from. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


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
