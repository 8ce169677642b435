"""Which of several trained networks to reuse for some images, before anything is trained."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from seam.configs.inference import ProfileConfig
from seam.configs.selection import SelectConfig
from seam.door.arguments import Wanted, of_kind, place_of
from seam.door.candidates import Candidate, Choice, Judge
from seam.door.computing import computing
from seam.door.given import Given, Labelled, labelled, named
from seam.door.progress import Shown
from seam.door.ranked import Selection
from seam.errors import DataError, SeamError, SourceError
from seam.hardware import describe
from seam.inference.engines import version
from seam.measures.findings import one_line
from seam.measures.transferability.estimates import Estimated, stacked
from seam.measures.transferability.ranking import rank
from seam.measures.transferability.sample import drawn

logger = logging.getLogger(__name__)


def select(
    candidates: Mapping[str, nn.Module | Candidate],
    train: Given,
    *,
    class_names: Sequence[str] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    image_size: int | None = None,
    balanced: bool = False,
    config: SelectConfig | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
    progress: bool = True,
) -> Selection:
    """Rank trained networks for images before anything is trained.

    Args:
        candidates: by name: a network, or how to load one. They are not changed. One that cannot be
            loaded or does not take the images is a row with the reason.
        train: images to choose by, see `seam.reengineer`; their classes need not be the networks'.
        class_names: of the images, by label; None: the folders, the `classes` of a Dataset, or numbers.
        mean: of pixels in [0, 1], one value or one a channel, for uint8 images and candidates that have
            none of their own; None: ImageNet's.
        std: see `mean`.
        image_size: side in pixels that images of a folder are brought to; None: they must agree.
        balanced: whether as many images of every class are looked at; otherwise each keeps its share.
        config: all numbers; None: those of `seam.configs.selection.SelectConfig`.
        seed: of everything drawn.
        folder: where features and figures are kept, by what they were computed from, so that a call that
            was interrupted continues and a further candidate costs its own time alone; None: nowhere.
        progress: whether to show a bar with the time left.

    Raises:
        ConfigError: an argument is not what it should be.
        DataError: images or labels are not what they should be, or too few of a class.
        SourceError: none of the candidates can be judged.
    """
    place = place_of(folder)
    of_kind(config, SelectConfig, "config")
    numbers, wanted = config or SelectConfig(), Wanted(mean, std, image_size, seed, "cpu")
    images = labelled(train, "train", image_size)
    images = named(images, class_names)
    asked = Asked(images, numbers, ProfileConfig(), wanted, place, balanced)
    with Shown(progress).bar("select", 100 * len(candidates), "%") as on_step:
        return asked.selection(candidates, on_step)


@dataclass(frozen=True)
class Asked:
    """One choice, but for the candidates."""

    images: Labelled
    """All that there are."""
    numbers: SelectConfig
    profile: ProfileConfig
    wanted: Wanted
    folder: Path | None
    balanced: bool
    """See `select`."""

    def selection(
        self, candidates: Mapping[str, nn.Module | Candidate], on_step: Callable[[int, str], None]
    ) -> Selection:
        """Judge and order the candidates.

        Args:
            candidates: see `select`.
            on_step: told how much is done, 100 a candidate, and of what.

        Raises:
            DataError: labels that are not what they should be.
            SourceError: none of them can be judged.
        """
        began, seed, profile = time.perf_counter(), self.wanted.seed, self.profile
        if not candidates:
            raise SourceError("candidates: expected networks to choose from, got none; give at least one.")
        images = self._looked_at()
        judge = Judge(images, self.wanted, self.numbers, profile, self.folder)
        with computing("cpu", images.sides[0] * images.sides[1], seed) as runtime:
            choices, sure = ordered(judged(judge, candidates, on_step), self.numbers, seed)
        return Selection(
            choices=choices,
            by=self.numbers.by,
            first_beats_second=sure,
            classes=images.classes or (),
            images=len(images.data),
            seed=seed,
            seconds=time.perf_counter() - began,
            settings={"select": asdict(self.numbers)},
            conditions={
                "engine": profile.engine,
                "version": version(profile.engine),
                "batch_size": profile.batch_size,
                "num_threads": profile.num_threads,
                "torch": torch.__version__,
                "threads": runtime.threads,
                "machine": describe(),
            },
        )

    def _looked_at(self) -> Labelled:
        """A sample of the images, with labels 0, 1, ... and the names of those classes that are there."""
        names, data = self.images.classes, self.images.data
        low, high = int(data.labels.min()), int(data.labels.max())
        if low < 0 or (names is not None and high >= len(names)):
            known = "0 or more" if names is None else f"0..{len(names) - 1}, one for each class"
            raise DataError(f"train: expected labels in {known}, got {low}..{high}; number the classes so.")
        rows = drawn(data.images, data.labels, self.numbers.images, self.wanted.seed, balanced=self.balanced)
        some = self.images.rows(rows)
        there, labels = some.labels.unique(return_inverse=True)
        chosen = tuple(str(i) if names is None else names[i] for i in there.tolist())
        return named(replace(self.images, data=replace(some, labels=labels)), chosen)


def judged(
    judge: Judge, candidates: Mapping[str, nn.Module | Candidate], on_step: Callable[[int, str], None]
) -> dict[str, tuple[Choice, Estimated | None]]:
    """Every candidate, in the order given; one that cannot be judged has the reason instead of estimates."""
    found = dict[str, tuple[Choice, Estimated | None]]()
    for number, (name, given) in enumerate(candidates.items()):
        candidate = Candidate(load=partial(_same, given)) if isinstance(given, nn.Module) else given

        def on_share(share: float, text: str, first: int = 100 * number) -> None:
            on_step(first + round(100 * share), text)

        try:
            found[name] = judge.judged(name, candidate, on_share)
        except Exception as e:  # a network's own code raises anything, and the others go on
            logger.info("%s: not judged", name, exc_info=True)
            reason = str(e) if isinstance(e, SeamError) else f"{type(e).__name__}: {one_line(e)}"
            told = Choice(name=name, reason=reason, public=candidate.public)
            found[name] = (replace(told, licence=candidate.licence, origin=candidate.origin), None)
        on_step(100 * (number + 1), name)
    return found


def ordered(
    results: Mapping[str, tuple[Choice, Estimated | None]], numbers: SelectConfig, seed: int
) -> tuple[tuple[Choice, ...], float | None]:
    """The candidates, best first, those that could not be judged last; and how likely the first is ahead.

    Raises:
        SourceError: none could be judged.
    """
    known = {name: found for name, (_, found) in results.items() if found is not None}
    rest = tuple(choice for choice, found in results.values() if found is None)
    if not known:
        first = rest[0]
        raise SourceError(f"candidates: expected a network that can be judged, got none; {first.name}: {first.reason}")
    ranking, names = rank(stacked(known, numbers.by), numbers.resamples, seed), list(known)
    best = [replace(results[names[i]][0], likely_best=ranking.best[i]) for i in ranking.order]
    return (*best, *rest), ranking.first_beats_second


def _same(network: nn.Module) -> nn.Module:
    return network
