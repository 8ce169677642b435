"""What a mask search reports and returns: rounds, candidates, the result, and which candidates no other beats."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from seam.masks.widths import Layout
from seam.networks.head import TargetHead


@dataclass(frozen=True)
class Round:
    """One epoch of the search, measured at its end."""

    round: int
    cross_entropy: float
    """Mean over the round's training batches."""
    density: float
    val_accuracy: float
    accepted: bool
    """Whether this became the best candidate."""


@dataclass(frozen=True)
class Point:
    """A candidate: a mask with its head."""

    density: float
    val_accuracy: float
    round: int
    """After which its mask was made."""


@dataclass(frozen=True)
class Tried:
    """A layout of channels, and how it did after a short training."""

    rules: tuple[str, ...]
    """That proposed it."""
    layout: Layout
    val_accuracy: float | None
    val_cross_entropy: float | None
    """Both None: it was alone, and was not trained."""


@dataclass(frozen=True)
class ChosenLayout:
    """The layout of a mask over whole channels, and what it costs."""

    rule: str
    """That proposed it."""
    layout: Layout
    whole_layout: Layout
    """All groups of each unit."""
    cost: float
    """In the unit of `SearchConfig.cost`: weights, multiply-adds of one image, or milliseconds of a
    call, predicted by the time table."""
    cost_of_all: float
    """Of the whole network."""


@dataclass(frozen=True)
class SearchResult:
    """The best candidate of a search, and how it was found."""

    masks: dict[str, Tensor]
    head: TargetHead
    head_only: TargetHead
    """The head fitted with all weights kept: what the head alone achieves."""
    norms: dict[str, Tensor]
    """Scales, shifts and statistics of the normalisation layers, as they go with the masks; see
    `seam.networks.norms`."""
    rounds: tuple[Round, ...]
    frontier: tuple[Point, ...]
    """Candidates, densest first: of the final scores cut at rising budgets or, with `drift`, the
    rounds that no other beats."""
    candidates: tuple[dict[str, Tensor], ...]
    """Masks of `frontier`, in its order; none with `drift`, which keeps the best round's alone."""
    best: Point
    floor: float
    """The val accuracy that was asked for."""
    source_val_accuracy: float
    head_only_val_accuracy: float
    seconds: float
    """Of computing, over all resumed parts."""
    tried: tuple[Tried, ...] = ()
    """Layouts of the channels that were trained for a short while, the best first; none where the
    first guess was taken, or no layout is chosen."""
    chosen: ChosenLayout | None = None
    """Of the channels; None: the search has chosen masks, not widths."""

    @property
    def met_floor(self) -> bool:
        """Whether any candidate reached the required accuracy."""
        return self.best.val_accuracy >= self.floor


def frontier(points: Iterable[Point]) -> list[Point]:
    """The points that no other beats in both density and val accuracy, densest first."""
    kept: list[Point] = []
    for p in sorted(points, key=lambda p: (p.density, -p.val_accuracy)):
        if not kept or p.val_accuracy > kept[-1].val_accuracy:
            kept.append(p)
    return kept[::-1]


def fallback(found: Round | Point) -> float:
    """What is maximised while no candidate reaches the floor. Source: the published code, *same*."""
    return found.val_accuracy - found.density
